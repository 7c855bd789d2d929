"""The space of an exploration: its knobs, what they must keep to, and how it is searched.

Read from TOML; docs/explore.md has all sections and keys. All of it is checked before anything
runs.
"""

import hashlib
import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from .constraints import Constraints, Objective, check_clock, read_constraints, read_objectives
from .knobs import SECTIONS, read_knobs
from .point import Point, Value
from .section import Section, Source, flag, integer, one_of, shown
from .sources import Files, Images, ModelSource, read_images, read_model
from .toml_text import toml_key, toml_section, toml_value

SAMPLERS = ("grid", "nsga2", "tpe")
_POPULATION = 20
_COUNT_MAX = (1 << 31) - 1
_SEED_MAX = (1 << 32) - 1  # of NumPy's RandomState, which Optuna draws with


@dataclass(frozen=True)
class Search:
    """How points are chosen.

    Fields: `sampler`, one of `SAMPLERS`; `trials`, points to try, None for the grid; `population`
    of nsga2, None for the others; `seed`; `prune`, whether a point that cannot come into the result
    any more is given up.
    """

    sampler: str = "grid"
    trials: int | None = None
    population: int | None = None
    seed: int = 0
    prune: bool = False


@dataclass(frozen=True)
class Space:
    """What is explored; made by `load`, `parse` and `from_table`.

    Members: `model`; `images`; `knobs`, knob -> its values, in the order of the TOML (`Point` says
    which knobs there are); `constraints`; `objectives`; `search`.
    """

    model: ModelSource
    images: Images
    knobs: Mapping[str, tuple[Value, ...]]
    constraints: Constraints
    objectives: tuple[Objective, ...]
    search: Search = field(default_factory=Search)

    @classmethod
    def load(cls, path: str | Path, check_files: bool = True) -> "Space":
        """Read a TOML file; relative paths in it count from its folder.

        Parameters: `check_files`, whether the files that it names must be there.
        Raises: ConfigError naming file, line, section and key.
        """
        try:
            content = Path(path).read_bytes().decode()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not TOML: {error}") from None
        return cls.parse(content, Path(path).parent, path, check_files)

    @classmethod
    def parse(
        cls,
        content: str,
        folder: str | Path = ".",
        path: str | Path | None = None,
        check_files: bool = True,
    ) -> "Space":
        """Read TOML text; relative paths count from `folder`, messages name `path`.

        Raises: as `load`.
        """
        try:
            table = tomllib.loads(content)
        except (ValueError, RecursionError) as error:
            where = "" if path is None else f"{path}: "
            raise ConfigError(f"{where}not TOML: {error}") from None
        source = Source(content, None if path is None else str(path))
        return _read(Section(source, (), table), Path(folder), check_files)

    @classmethod
    def from_table(
        cls, table: Mapping[str, Any], folder: str | Path = ".", check_files: bool = True
    ) -> "Space":
        """From the sections of the TOML as dicts.

        Raises: ConfigError naming section and key.
        """
        return _read(Section(Source(), (), table), Path(folder), check_files)

    @property
    def size(self) -> int:
        """Points of the grid."""
        return math.prod(map(len, self.knobs.values()))

    def points(self) -> Iterator[Point]:
        """All points, the values of the last knob changing fastest."""
        names = tuple(self.knobs)
        for values in itertools.product(*self.knobs.values()):
            yield Point(tuple(zip(names, values, strict=True)))

    def point(self, values: Mapping[str, Value]) -> Point:
        """The point of these values; knobs of one value may be left out.

        Raises: ConfigError naming the knob where one is missing, or is not in the space.
        """
        for knob in values:
            if knob not in self.knobs:
                raise ConfigError(f"knob must be one of {', '.join(self.knobs)}, not {knob}")
        found = {}
        for knob, legal in self.knobs.items():
            if knob not in values and len(legal) > 1:
                raise ConfigError(f"knob {knob} must be given")
            value = values.get(knob, legal[0])
            if value not in legal:
                choices = ", ".join(map(str, legal))
                raise ConfigError(f"{knob} must be one of {choices}, not {shown(value)}")
            found[knob] = legal[legal.index(value)]
        return Point.of(found)

    def to_toml(self) -> str:
        """The TOML text that `parse` reads back to an equal space; its paths are absolute."""
        model, images, search = self.model, self.images, self.search
        size = None if model.image_size is None else list(model.image_size)
        sections = [
            toml_section("model", vars(model) | {"image_size": size}),
            toml_section("images", vars(images)),
        ]
        tables: dict[str, list[str]] = {}
        for knob, values in self.knobs.items():
            width, layers, pattern = knob.partition("@")
            section = next(name for name, knobs in SECTIONS.items() if width in knobs)
            key = f"layers.{toml_key(pattern)}.{width}" if layers else knob
            value = toml_value(values[0] if len(values) == 1 else values)
            tables.setdefault(section, []).append(f"{key} = {value}")
        sections += ["\n".join([f"[{name}]", *lines]) + "\n" for name, lines in tables.items()]
        limits = ["[constraints]", f"fits = {toml_value(self.constraints.fits)}"]
        for name, bounds in self.constraints.table().items():
            inner = ", ".join(f"{bound} = {toml_value(limit)}" for bound, limit in bounds.items())
            limits.append(f"{name} = {{ {inner} }}")
        goals: dict[str, list[str]] = {}
        for objective in self.objectives:
            way = "maximize" if objective.maximize else "minimize"
            goals.setdefault(way, []).append(objective.metric)
        sections += [
            "\n".join(limits) + "\n",
            toml_section("objectives", goals),
            toml_section("search", vars(search)),
        ]
        return "\n".join(sections)

    @property
    def text(self) -> str:
        """What `to_toml` writes."""
        return self.to_toml()

    @property
    def digest(self) -> str:
        """SHA-256 of what is explored; how many trials there are may change."""
        unlimited = replace(self, search=replace(self.search, trials=None))
        return hashlib.sha256(unlimited.to_toml().encode()).hexdigest()


def _read(root: Section, folder: Path, check_files: bool) -> Space:
    names = ("model", "images", *SECTIONS, "constraints", "objectives", "search")
    root.check_keys(names)
    sections = {name: root.inner(name) for name in names}
    files = Files(folder, check_files)
    model = read_model(sections["model"], files)
    given = {name: sections[name] for name in root.table if name in SECTIONS}
    knobs = read_knobs(given, files)
    check_clock(sections["fpga"], knobs)
    return Space(
        model=model,
        images=read_images(sections["images"], model, files),
        knobs=knobs,
        constraints=read_constraints(sections["constraints"], knobs),
        objectives=read_objectives(sections["objectives"], knobs),
        search=_read_search(sections["search"]),
    )


def _read_search(section: Section) -> Search:
    section.check_keys(("sampler", "trials", "population", "seed", "prune"))
    sampler = section.value("sampler", one_of(SAMPLERS), SAMPLERS[0])
    for key, samplers in (("trials", SAMPLERS[1:]), ("population", ("nsga2",))):
        if key in section.table and sampler not in samplers:
            raise section.error(key, f"must be left out for sampler {sampler}")
    trials = section.value("trials", integer(1, _COUNT_MAX), None)
    if trials is None and sampler != "grid":
        raise section.error("trials", f"must be given for sampler {sampler}")
    population = _POPULATION if sampler == "nsga2" else None
    return Search(
        sampler=sampler,
        trials=trials,
        population=section.value("population", integer(2, _COUNT_MAX), population),
        seed=section.value("seed", integer(0, _SEED_MAX), 0),
        prune=section.value("prune", flag, sampler != "grid"),
    )
