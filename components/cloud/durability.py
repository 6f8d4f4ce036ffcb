"""Protection of data against loss by mistake."""

from enum import Enum

import pulumi


class Durability(Enum):
    """`PROTECTED` data is never deleted or replaced; `DISPOSABLE` data was named by the operator for that."""

    PROTECTED = "protected"
    DISPOSABLE = "disposable"

    def options(self, parent: pulumi.Resource, *, adopt: str | None = None) -> pulumi.ResourceOptions:
        """Options of a resource that holds data; `adopt` is the id of one that exists and is taken over.

        Names are the operator's, so a disposable one goes before its successor comes.
        """
        kept = self is Durability.PROTECTED
        return pulumi.ResourceOptions(
            parent=parent,
            protect=kept,
            retain_on_delete=kept,
            delete_before_replace=not kept,
            import_=adopt,
        )
