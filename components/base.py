"""The base class of all components."""

import pulumi


class Component(pulumi.ComponentResource):
    """A ComponentResource whose type token is the class constant `TYPE` (`flatline:<package>:<Class>`).

    Stacks have the token in their state, so it stays when the class gets another name.
    """

    TYPE = ""  # not annotated: the SDK takes the annotations of a packaged component for its outputs

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(self.TYPE, name, None, opts)

    @property
    def child_opts(self) -> pulumi.ResourceOptions:
        """Options of a child that holds no data."""
        return pulumi.ResourceOptions(parent=self)
