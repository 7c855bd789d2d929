"""What has to be closed: at the end of a `with` block it is."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType


class Closing(AbstractContextManager):
    """Base of what has a `close`."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
