"""The operators that the library registers with PyTorch's dispatcher, by name."""

from cnnpipe.functional.operator import Operator


def operators(family: type[Operator] = Operator) -> dict[str, type[Operator]]:
    found = {}
    for operator in family.__subclasses__():
        found |= {operator.schema.split("(")[0]: operator} if hasattr(operator, "schema") else {}
        found |= operators(operator)
    return found
