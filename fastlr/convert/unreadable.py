"""What stands in the way of reading a scheduler."""


class Unreadable(ValueError):
    """A scheduler without a formula; `final` where driving it says nothing either."""

    def __init__(
        self, problem: str, advice: str = "Give steps, for which it is tabulated.", *, final: bool = False
    ) -> None:
        super().__init__(f"{problem}. {advice}")
        self.final = final
