"""The sample data that ships with bigrec: what the members of an invented film club watched.

``python -m benchmarks.sample`` writes the files of ``src/bigrec/data/sample`` again. The story:

- 240 films of eight genres, whose titles sound like their genre. Two fifths are parts of series.
- Most films are there from the start; the others are released one by one. One of each
  genre comes so late that few watch it, or nobody: cold items.
- Each of 320 members has a favorite and a second genre. The favorite moves on to the next genre in
  the course of a member's first year: tastes drift.
- A member who has seen a part of a series tends to watch the next one. Otherwise the genre is drawn
  by taste, and the film by its popularity, which is higher for new releases.
- Nobody watches a film twice.

Randomness comes from ``random.Random.random`` alone, whose sequence Python keeps for a seed.
"""

import bisect
import csv
import gzip
import io
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from bigrec.data.readers.sample import FOLDER, INTERACTIONS, ITEMS
from bigrec.storage import atomic_file

_SEED = 2024
_START = datetime(2022, 1, 1, tzinfo=UTC)
_DAYS = 1095
_MEMBERS = 320
_SERIES, _PARTS, _SINGLES = 4, 3, 18
_LATE_DAYS = 60
_FAVORITE, _SECOND = 0.55, 0.3
_NEXT_PART = 0.45
_FEWEST, _MOST = 8, 50
_MEAN_PAUSE = 9.0
_ROMAN = ("", " II", " III")

# Adjectives, things and places of titles.
_GENRES: dict[str, tuple[str, str, str]] = {
    "Science Fiction": (
        "Silent Frozen Orbital Binary Distant Drifting Electric Lost",
        "Starship Nebula Android Airlock Comet Satellite Reactor Colony Signal Asteroid",
        "Kepra Titan Vega Andara",
    ),
    "Western": (
        "Dusty Lonesome Outlaw Thirsty Burning Wild Rusty Six-Gun",
        "Saddle Sheriff Ranch Canyon Stagecoach Mustang Saloon Prairie Bounty Cattle",
        "Dry_Creek Abilene_Pass Coyote_Ridge Red_Mesa",
    ),
    "Crime": (
        "Crooked Stolen Double Midnight Velvet Unmarked Guilty Perfect",
        "Heist Detective Alibi Safe Informant Witness Getaway Diamond Verdict Forgery",
        "Pier_Nine Marlow_Street the_Old_Bank Harbor_City",
    ),
    "Horror": (
        "Haunted Whispering Cursed Bloodless Hollow Buried Screaming Sleepless",
        "Crypt Asylum Phantom Cellar Scarecrow Coffin Mirror Seance Graveyard Puppet",
        "Ashgrove Blackmoor Raven_Hill the_Drowned_Chapel",
    ),
    "Romance": (
        "Tender Secret Summer Borrowed Hopeless Second Forgotten Paper",
        "Kiss Wedding Valentine Letter Bouquet Sweetheart Honeymoon Proposal Waltz Promise",
        "Verona_Square Lake_Como Rue_Violette Lisbon",
    ),
    "Animation": (
        "Brave Tiny Giggling Magic Sleepy Rainbow Bouncing Clumsy",
        "Dragon Penguin Teapot Unicorn Hedgehog Wizard Kitten Balloon Goblin Snowman",
        "Button_Hill Marshmallow_Bay Pumpkin_Town the_Toy_Attic",
    ),
    "Music": (
        "Golden Broken Roaring Blue Acoustic Final Loud Unplugged",
        "Trumpet Chorus Drummer Encore Ballad Jukebox Guitar Symphony Melody Piano",
        "Basin_Street the_Apollo_Room Memphis_Hall Radio_Nine",
    ),
    "Nature": (
        "Untamed Deep Migrating Ancient Snowbound Hidden Green Wandering",
        "Glacier Rainforest Whale Savanna Reef Wolf Tundra Volcano Elephant Eagle",
        "Baikal Patagonia the_Serengeti Svalbard",
    ),
}


@dataclass(frozen=True)
class Film:
    """A film of the club.

    Attributes:
        title: Unique.
        genre: One of the eight.
        day: Day of the release, counted from the club's start; before it, 0 or less.
        appeal: Weight among the films of its genre.
        next_part: Number of the next part of the series; None if there is none.
        in_stock: Whether it can be watched now.
    """

    title: str
    genre: str
    day: int
    appeal: float
    next_part: int | None = None
    in_stock: bool = True


class _Dice:
    """Choices made from ``random.Random.random``."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def below(self, n: int) -> int:
        """A number from 0 to ``n - 1``."""
        return int(self.random() * n)

    def weighted(self, weights: Sequence[float]) -> int:
        """An index, with a probability in proportion to its weight."""
        sums = list(itertools.accumulate(weights))
        return min(bisect.bisect(sums, self.random() * sums[-1]), len(sums) - 1)

    def order(self, n: int) -> list[int]:
        """The numbers from 0 to ``n - 1`` in random order."""
        keys = [self.random() for _ in range(n)]
        return sorted(range(n), key=keys.__getitem__)


def make_films(dice: _Dice) -> list[Film]:
    """All films, in the order of their genres; the parts of a series follow each other."""
    films: list[Film] = []
    for place, (genre, words) in enumerate(_GENRES.items()):
        names = list(_names(*([word.replace("_", " ") for word in text.split()] for text in words)))
        order = dice.order(len(names))
        for index in order[:_SERIES]:
            films += _series(dice, names[index], genre, start=len(films))
        singles = [
            Film(names[index], genre, _release(dice), _appeal(dice))
            for index in order[_SERIES : _SERIES + _SINGLES]
        ]
        # One of each genre comes late; the last two of these are announced and not shown yet.
        films += [replace(singles[0], day=_DAYS - _LATE_DAYS + 10 * place), *singles[1:]]
    return [replace(film, in_stock=film.day < _DAYS and dice.random() < 0.85) for film in films]


def _names(adjectives: list[str], things: list[str], places: list[str]) -> Iterator[str]:
    for index, thing in enumerate(things):
        yield f"The {adjectives[index % len(adjectives)]} {thing}"
        yield f"{thing} of {places[index % len(places)]}"
        yield f"My Last {thing}"


def _series(dice: _Dice, name: str, genre: str, *, start: int) -> list[Film]:
    last, appeal = _release(dice), 1.5 * _appeal(dice)
    return [
        Film(
            name + _ROMAN[part],
            genre,
            last - 200 * (_PARTS - 1 - part),
            appeal,
            start + part + 1 if part + 1 < _PARTS else None,
        )
        for part in range(_PARTS)
    ]


def _release(dice: _Dice) -> int:
    """Before the start for most; else evenly in the first five sixths of the time."""
    if dice.random() < 0.65:
        return -dice.below(4000)
    return dice.below(_DAYS * 5 // 6)


def _appeal(dice: _Dice) -> float:
    """Between 1 and 4: some films are far more popular than others."""
    return float(4.0 ** dice.random())


def watch(dice: _Dice, films: Sequence[Film]) -> list[tuple[int, int, int]]:
    """Everything that was watched, in the order of time.

    Returns:
        Seconds since the club's start, number of the member, number of the film.
    """
    rows = []
    for member in range(_MEMBERS):
        rows += [(second, member, film) for second, film in _evenings(dice, films)]
    return sorted(rows)


def _evenings(dice: _Dice, films: Sequence[Film]) -> Iterator[tuple[int, int]]:
    """What one member watches: seconds since the club's start, and numbers of films."""
    day = dice.random() * _DAYS * 0.9
    favorite, second = dice.order(len(_GENRES))[:2]
    moves_on = day + 365 * (0.4 + 0.6 * dice.random())
    seen: list[int] = []
    for _ in range(_FEWEST + dice.below(_MOST - _FEWEST + 1)):
        if day >= _DAYS:
            return
        current = favorite if day < moves_on else (favorite + 1) % len(_GENRES)
        film = _choose(dice, films, seen, day=day, genres=(current, second))
        seen.append(film)
        yield int(day) * 86400 + 17 * 3600 + dice.below(6 * 3600), film
        # At least a day, so that a history has an order.
        day += 1 + _MEAN_PAUSE * 2 * dice.random()


def _choose(
    dice: _Dice, films: Sequence[Film], seen: Sequence[int], *, day: float, genres: tuple[int, int]
) -> int:
    shown = [film.day <= day for film in films]
    following = [films[number].next_part for number in seen[-3:]]
    for part in reversed(following):
        if part is not None and shown[part] and part not in seen and dice.random() < _NEXT_PART:
            return part
    drawn = dice.random()
    names = list(_GENRES)
    if drawn < _FAVORITE + _SECOND:
        genre = names[genres[drawn >= _FAVORITE]]
    else:
        genre = names[dice.below(len(names))]
    weights = [
        film.appeal * (3.0 if day - film.day < 90 else 1.0)
        if shown[number] and film.genre == genre and number not in seen
        else 0.0
        for number, film in enumerate(films)
    ]
    if not any(weights):  # everything of the genre is seen
        weights = [float(shown[number] and number not in seen) for number in range(len(films))]
    return dice.weighted(weights)


def sample_tables() -> tuple[str, str]:
    """The interactions and the items, as text of CSV files."""
    dice = _Dice(_SEED)
    films = make_films(dice)
    interactions = _csv(
        ("user_id", "item_id", "timestamp"),
        (
            (f"u{member:03}", f"f{film:03}", f"{_START + timedelta(seconds=second):%Y-%m-%d %H:%M}")
            for second, member, film in watch(dice, films)
        ),
    )
    items = _csv(
        ("item_id", "title", "genre", "year", "in_stock"),
        (
            (
                f"f{number:03}",
                film.title,
                film.genre,
                (_START + timedelta(days=film.day)).year,
                str(film.in_stock).lower(),
            )
            for number, film in enumerate(films)
        ),
    )
    return interactions, items


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def main() -> None:
    """Write both files."""
    interactions, items = sample_tables()
    FOLDER.mkdir(exist_ok=True)
    # Without a time in its header, the same table makes the same file.
    packed = gzip.compress(interactions.encode(), mtime=0)
    for name, content in ((INTERACTIONS, packed), (ITEMS, items.encode())):
        with atomic_file(FOLDER / name) as temporary:
            temporary.write_bytes(content)


if __name__ == "__main__":
    main()
