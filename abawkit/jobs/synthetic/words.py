"""What people say: each seed video has a sentence, and those who imitate it say it with slips of their own.

A sentence is an opener, a main part and a tail; each is taken from an emotion's phrases or from the neutral ones,
by how strong the emotions are in the seed video. So words tell what the seed has, not what the person adds.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from abawkit.jobs.synthetic.ballots import SPREAD

#: Weight of the neutral phrases, against the emotions' chances in units of their labels' spread.
NEUTRAL = 0.6

#: Chances that an imitation drops the opener, drops the tail, begins with a hesitation, has a word misheard.
DROP_OPENER, DROP_TAIL, HESITATE, MISHEAR = 0.06, 0.08, 0.15, 0.12

#: Per emotion in the official order, then neutral: openers, main parts, tails.
PHRASES: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (  # Admiration
        ("wow", "oh wow", "look at you", "how beautiful"),
        (
            "you did such an amazing job with {thing}",
            "that was an incredible performance",
            "I really admire the way you handled {thing}",
            "you are so talented it is inspiring",
            "what a beautiful piece of work {thing} is",
        ),
        ("I am so impressed", "you are amazing", "truly wonderful work"),
    ),
    (  # Amusement
        ("haha", "oh come on", "ha that is funny", "you are kidding"),
        (
            "that is the funniest joke I have heard {time}",
            "did you see the silly face he made",
            "I cannot stop laughing about {thing}",
            "she slipped on {thing} and just giggled",
            "this is so ridiculous it cracks me up",
        ),
        ("that is hilarious", "too funny", "I am dying laughing"),
    ),
    (  # Determination
        ("listen", "okay focus", "no excuses", "I mean it"),
        (
            "I will finish {thing} no matter what",
            "I am not giving up until we win",
            "we are going to make it work {time}",
            "nothing can stop me from reaching my goal",
            "I have to keep pushing and train harder",
        ),
        ("I can do this", "whatever it takes", "watch me fight"),
    ),
    (  # Empathic Pain
        ("oh no", "I am so sorry", "oh that hurts", "poor thing"),
        (
            "it must be so painful to lose {thing}",
            "I feel terrible about what happened to you",
            "my heart breaks for your family",
            "that looks like it really hurt you",
            "I wish I could take away your pain",
        ),
        ("that is so sad", "I am here for you", "it hurts to see"),
    ),
    (  # Excitement
        ("oh my god", "guess what", "yes yes", "hey hey"),
        (
            "we are going to the concert {time}",
            "I cannot wait to see {thing}",
            "it is finally happening and I am thrilled",
            "we just got tickets for the big game",
            "this is going to be so epic",
        ),
        ("I am so excited", "let us go", "I cannot believe it"),
    ),
    (  # Joy
        ("yay", "aw", "oh happy day", "good morning"),
        (
            "I am so happy that you came {time}",
            "it makes me smile to think of {thing}",
            "we had a lovely day in the sunshine",
            "I love spending the holidays with you",
            "life feels so warm and bright",
        ),
        ("I feel so glad", "what a joy", "it is a delight"),
    ),
    (  # neutral
        ("so", "well", "you know", "all right"),
        (
            "I went to the store to get {thing}",
            "the meeting was moved to another room",
            "there is {thing} on the kitchen table",
            "they said it might rain {time}",
            "he usually takes the bus to the office",
        ),
        ("I guess", "or something like that", "and that is about it"),
    ),
)

FILLERS = {
    "thing": ("the cake", "this song", "the project", "the little dog", "the garden", "that movie"),
    "time": ("today", "this year", "tomorrow night", "on Friday", "after lunch", "this weekend"),
}
HESITATIONS = ("um", "uh", "like", "mm")
MISHEARD = ("the", "and", "it", "that", "in", "you", "a", "of")


def seed_sentence(rng: np.random.Generator, chances: NDArray[np.float64]) -> str:
    """Returns the sentence of one seed video, in lower case but for ``I``, without punctuation.

    Args:
        rng: Generator.
        chances: How strong the six emotions are in it (the chance that a rater votes for each).
    """
    weights = np.append(chances / np.array(SPREAD), NEUTRAL)
    emotions = rng.choice(len(weights), size=3, p=weights / weights.sum())
    parts = [_pick(rng, PHRASES[emotion][part]) for part, emotion in enumerate(emotions)]
    fillers = {name: _pick(rng, values) for name, values in FILLERS.items()}
    return " | ".join(parts).format(**fillers)


def imitate(rng: np.random.Generator, sentence: str) -> str:
    """Returns the words of a person who imitates ``sentence``, written as a speech recogniser writes them."""
    opener, main, tail = sentence.split(" | ")
    drops = rng.random(2) < (DROP_OPENER, DROP_TAIL)
    words = " ".join([*([] if drops[0] else [opener]), main, *([] if drops[1] else [tail])]).split()
    if rng.random() < MISHEAR:
        words[rng.integers(len(words))] = _pick(rng, MISHEARD)
    if rng.random() < HESITATE:
        words.insert(int(rng.integers(len(words))), _pick(rng, HESITATIONS))
    text = " ".join(words)
    return text[0].upper() + text[1:] + _pick(rng, (".", ".", "!", ""))


def vowels(text: str) -> list[int]:
    """Returns the vowels of ``text`` in order as indices into ``aeiou``, for the voice that says it.

    >>> vowels("You did it")
    [3, 2, 2]
    """
    return ["aeiou".index(run[0]) for run in re.findall("[aeiou]+", text.lower())]


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
