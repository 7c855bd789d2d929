"""Progress bars, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and the name of the present one."""


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A bar that a `Progress` callback moves; silent where standard error is no terminal.

    Where fewer steps are done than before, another phase has begun, and its time with it.
    """
    with tqdm(desc=title, leave=False, dynamic_ncols=True, disable=None) as bar:

        def update(done: int, total: int, name: str = "") -> None:
            if done < bar.n:
                bar.reset()
            bar.total = total
            bar.n = done
            bar.set_postfix_str(name, refresh=False)
            bar.refresh()

        yield update
