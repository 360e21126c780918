"""``features``: manages feature stores, and exchanges features with other people's scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abawkit.cli.options import FailuresOption, JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from abawkit.extraction.import_features import Imported
    from abawkit.features.store import FeatureStore
    from abawkit.features.summary import Coverage

features_app = typer.Typer(help="Manage feature stores.", no_args_is_help=True)

_WHICH = "A store: its folder, name, signature, or the modality when it has one store."
StoreArgument = Annotated[str, typer.Argument(metavar="STORE", help=_WHICH)]
ModalityOption = Annotated[str, typer.Option("--modality", "-m", help="text, audio, vision or motion.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to the program."""
    features_app.command("list", epilog="Example: abawkit features list")(list_)
    features_app.command("show", epilog="Example: abawkit features show audio 00012")(show)
    features_app.command("verify", epilog="Example: abawkit features verify --all")(verify)
    features_app.command("compact", epilog="Example: abawkit features compact audio")(compact)
    features_app.command("import", epilog="Example: abawkit features import --modality audio --from DIR")(import_)
    features_app.command("export", epilog="Example: abawkit features export audio --to DIR")(export)
    app.add_typer(features_app, name="features")


def list_(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the feature stores."""
    from abawkit.cli import console
    from abawkit.features.summary import list_features
    from abawkit.fileio import human_bytes

    opened = open_workspace(workspace)
    stores = list_features(opened.features)
    if as_json:
        console.print_json({"stores": [store.to_json() for store in stores]})
        return
    if not stores:
        console.say("there are no feature stores yet")
        steps = {
            "abawkit extract": "make them",
            "abawkit features import --modality audio --from DIR": "take features that others made",
        }
        console.next_steps(steps)
        return
    rows = []
    for s in stores:
        values = "–" if s.spec is None else f"{s.spec.dim} × {s.spec.dtype}"
        counts = [str(n) for n in (s.present, s.missing, s.failed, s.frames)]
        rows.append([f"{s.path.parent.name}/{s.path.name}", *counts, values, human_bytes(s.bytes)])
    columns = ["store", "present", "missing", "failed", "frames", "values", "size"]
    console.show_table("Feature stores (clips that are present, missing, failed)", columns, rows)
    for s in stores:
        if s.spec is not None and s.spec.licence is not None:
            console.say(f"licence of {s.path.name}: {s.spec.licence}")
    for s in stores:
        if s.problem is not None:
            console.say(f"{s.path}: {s.problem}", "red")


def show(
    store: StoreArgument,
    clip: Annotated[str | None, typer.Argument(metavar="[CLIP]", help="A clip id.", show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a feature store, or one clip in it."""
    from abawkit.cli import console
    from abawkit.errors import AbawkitError
    from abawkit.features.summary import challenge_ids, coverage, find_store, what_is_missing

    opened = open_workspace(workspace)
    found = find_store(opened.features, store)
    problem = what_is_missing(found)
    if problem is not None and not as_json:
        console.say(problem, "red")
    if clip is not None:
        _show_clip(found, clip, as_json=as_json)
        return
    try:
        splits = {split: ids for split, ids in challenge_ids(opened).items() if ids}
    except AbawkitError:
        splits = {}  # a store can be shown without the challenge's folder
    covered = coverage(found, {**splits, "all": found.ids})
    if as_json:
        record = {"path": str(found.path), "signature": found.spec.signature, "segments": len(found.segments)}
        own = {split: vars(c) for split, c in covered.items() if split in splits}
        fields = {"spec": found.spec.to_json(), "splits": own, "clips": len(found), "problem": problem}
        console.print_json({**record, **fields})
        return
    spec = {"signature": found.spec.signature, **found.spec.to_json(), "segments": len(found.segments)}
    spec |= {f"preprocessing: {key}": value for key, value in spec.pop("preprocessing").items()}
    rows = [
        [key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)]
        for key, value in spec.items()
        if value is not None
    ]
    console.show_table(str(found.path), ["what", "value"], rows, left=2)
    _show_coverage(covered)


def _show_coverage(covered: dict[str, Coverage]) -> None:
    from abawkit.cli import console

    rows = []
    for split, c in covered.items():
        low, median, mean, high = c.frames or (None, None, None, None)
        frames = [console.number(low, 0), console.number(median, 1), console.number(mean, 1), console.number(high, 0)]
        rows.append([split, *(str(n) for n in (c.clips, c.present, c.missing, c.failed, c.absent)), ", ".join(frames)])
    columns = ["split", "clips", "present", "missing", "failed", "absent", "frames"]
    console.show_table("Clips (frames of the present ones: least, median, mean, most)", columns, rows)


def _show_clip(store: FeatureStore, text: str, *, as_json: bool) -> None:
    from abawkit.cli import console
    from abawkit.extraction.failures import Note
    from abawkit.features.summary import show_clip

    clip = show_clip(store, text)
    if as_json:
        console.print_json(vars(clip))
        return
    note = Note.from_text(clip.note) if clip.note else None
    times = "–" if clip.first_time is None else f"{clip.first_time:.3f} s to {clip.last_time:.3f} s"
    rows = [
        ["status", clip.status],
        ["shape", f"{clip.shape[0]} frames × {clip.shape[1]} values, {clip.dtype}"],
        ["times", times],
        ["frames all zero", str(clip.zero_frames)],
        ["segment", clip.segment],
        ["source", clip.source[:16] or "–"],
        ["note", (note.message if note else "") or "–"],
        *([fact, f"{value:g}"] for fact, value in (note.facts if note else {}).items()),
    ]
    if clip.values is not None:
        names = ("least", "mean", "largest", "standard deviation")
        rows[3:3] = [[name, f"{value:.5g}"] for name, value in zip(names, clip.values, strict=True)]
    console.show_table(f"{clip.clip} in {store.path.name}", ["what", "value"], rows, left=2)


def verify(
    store: Annotated[
        str | None, typer.Argument(metavar="[STORE]", help=f"{_WHICH} Default: the only one.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All stores.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every value of a feature store.

    Checksums, values that are not finite, constant or all zero, frame times, and which clips are there.
    """
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.features.store import store_manifests
    from abawkit.features.verify import verify_features

    opened = open_workspace(workspace)
    if store is None and not every and len(store_manifests(opened.features)) > 1:
        raise UsageError("there are several feature stores", todo="name one (abawkit features list), or give --all")
    if store is not None and every:
        raise UsageError("a store and --all exclude each other", got=store)
    wanted = None if store is None else [store]
    report = verify_features(opened, wanted, progress=console.progress_for(as_json))
    if as_json:
        console.print_json(report.to_json())
    else:
        console.show_report(report)
    if not report.ok:
        raise typer.Exit(3)


def compact(store: StoreArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Join a store's small segments into full ones.

    Values and everything that was trained on them stay what they are.
    """
    from abawkit.cli import console
    from abawkit.features.compaction import compact_features
    from abawkit.features.summary import find_store
    from abawkit.fileio import human_bytes

    opened = open_workspace(workspace)
    found = find_store(opened.features, store)
    done = compact_features(opened, found, progress=console.progress_for(as_json))
    if as_json:
        console.print_json(done.to_json())
        return
    if done.before == done.after:
        console.say(f"{found.path.name}: {done.after} full segments: nothing to do")
        return
    sizes = f"{human_bytes(done.bytes_before)} → {human_bytes(done.bytes_after)}"
    console.say(f"{found.path.name}: {done.before} → {done.after} segments, {sizes}")


def import_(
    modality: ModalityOption,
    sources: Annotated[
        list[Path], typer.Option("--from", help="A folder of files named by clip id, or a file with all clips.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the features; default: that of --from.", show_default=False)
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float16 or float32; default: as the files.", show_default=False)
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", min=1, help="Values per frame; default: of most.", show_default=False)
    ] = None,
    zeros_are_values: Annotated[
        bool, typer.Option("--zeros-are-values", help="Keep clips that are all zero; else they are missing.")
    ] = False,
    max_failures: FailuresOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take features that others made.

    Reads .pkl, .npy, .npz, .pt, .pth and .h5 files with one clip each, and dictionaries of all clips. Nothing in
    them is run. The same command again adds what is new; --from can be given several times.
    """
    from abawkit.cli import console
    from abawkit.errors import PartlyDone, UsageError
    from abawkit.extraction.import_features import import_features

    if dtype not in (None, "float16", "float32"):
        raise UsageError("unknown --dtype", got=str(dtype), expected="float16 or float32")
    opened = open_workspace(workspace, extract__max_failures=max_failures)
    done = import_features(
        opened,
        modality,  # type: ignore[arg-type]
        sources,
        name=name,
        dim=dim,
        dtype=dtype,  # type: ignore[arg-type]
        zeros_are_values=zeros_are_values,
        progress=console.progress_for(as_json),
    )
    if not as_json:
        _show_import(done)
    allowed = opened.settings.extract.max_failures
    bad = None
    if done.too_many_failed(allowed):
        bad = PartlyDone(
            f"{done.failed} clips failed",
            path=done.failures,
            expected=f"at most {allowed} (--max-failures)",
            todo=f"fix their files and import again; or accept them: --max-failures {done.failed}",
        )
    console.end(done.to_json(), bad, as_json=as_json)
    if not as_json:
        store = done.store.path.name
        console.next_steps(
            {
                f"abawkit features verify {modality}/{store}": "check every value",
                f"abawkit train --features {modality}={store}": "train on it",
            }
        )


def _show_import(done: Imported) -> None:
    from abawkit.cli import console

    spec = done.store.spec
    rows = [
        [split, *(str(n) for n in (c.clips, c.present, c.missing, c.failed)), f"{c.present / c.clips:.1%}"]
        for split, c in done.splits.items()
        if c.clips
    ]
    title = f"{spec.modality}/{done.store.path.name}: {spec.dim} values per frame, {spec.dtype}"
    console.show_table(title, ["split", "clips", "present", "missing", "failed", "covered"], rows)

    def say_count(what: str, count: int, more: str = "") -> None:
        if count:
            console.say(f"{what}: {count}{more}")

    say_count("clips added", done.added)
    say_count("clips with other values than before, replaced", done.changed)
    say_count("clips that were there already", done.unchanged)
    say_count("clips of an earlier import that --from does not have, kept", done.kept)
    zeros = spec.preprocessing["zeros"] == "missing"
    note = ", so missing (--zeros-are-values keeps them)" if zeros else ""
    say_count(f"clips that are all zero{note}", done.all_zero)
    for remark, count in done.remarks.items():
        say_count(remark, count)
    for damage, count in done.mended.items():
        say_count(f"damaged clip ids that were fixed, {damage}", count)
    say_count("ids that are not clips of the challenge, left aside", len(done.not_clips), _some(done.not_clips))
    say_count("names that are not clip ids, left aside", len(done.no_ids), _some(done.no_ids))
    if not done.splits["test"].clips:
        console.say("no test clips are known yet: import again when their list or folder is there", "yellow")
    if done.failures is not None and done.failed:
        console.say(f"failed clips are listed in {done.failures}", "yellow")


def _some(names: tuple[str, ...]) -> str:
    return f" ({', '.join(names[:5])}{' …' if len(names) > 5 else ''})"


def export(
    to: Annotated[Path, typer.Option("--to", help="A new or empty folder.")],
    store: Annotated[str | None, typer.Argument(metavar="[STORE]", help=_WHICH, show_default=False)] = None,
    modality: Annotated[
        str | None, typer.Option("--modality", "-m", help="Instead of STORE, when there is one.", show_default=False)
    ] = None,
    form: Annotated[str, typer.Option("--format", help="npy or pkl.")] = "npy",
    missing: Annotated[
        str, typer.Option("--missing", help="For clips without frames: skip, or zeros (one frame).")
    ] = "skip",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one file per clip, for other scripts."""
    from abawkit.cli import console
    from abawkit.errors import UsageError
    from abawkit.features.foreign.exports import export_features
    from abawkit.features.summary import find_store

    wanted = store or modality
    if wanted is None or (store and modality):
        raise UsageError("say which features: STORE or --modality", todo="abawkit features list")
    opened = open_workspace(workspace)
    done = export_features(
        opened,
        find_store(opened.features, wanted),
        to,
        format=form,  # type: ignore[arg-type]
        missing=missing,  # type: ignore[arg-type]
        overwrite=overwrite,
        progress=console.progress_for(as_json),
    )
    if as_json:
        console.print_json(done.to_json())
        return
    console.say(f"files with frames: {done.written} in {done.path}")
    if done.zeros:
        console.say(f"files of one frame of zeros, for clips without frames: {done.zeros}")
    if done.left_out:
        console.say(f"clips without frames, not written: {len(done.left_out)}{_some(done.left_out)}")
    if done.removed:
        console.say(f"files of the earlier export that were removed: {done.removed}")
    console.say("derived from data under the EULA: do not publish", "yellow")
