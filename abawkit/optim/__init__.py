"""What a training minimises and how it steps: losses, schedules, parameter groups. Torch only: no paths, no files."""
