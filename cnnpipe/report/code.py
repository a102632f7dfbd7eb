"""Functions of this project as they stand in its files, so that what the page quotes cannot drift.

They are read as text: the page draws results, and imports no operator.
"""

import ast
from pathlib import Path

import cnnpipe

QUOTED = "cnnpipe/functional/direct.py"
"""The file that the page quotes; the report stage depends on it."""


def quoted(function: str) -> str:
    """The source text of a function, without its docstring.

    >>> print(quoted("weight_gradient").splitlines()[0])
    def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """
    source = (Path(cnnpipe.__file__).parents[1] / QUOTED).read_text(encoding="utf-8")
    [found] = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    lines = source.splitlines()[found.lineno - 1 : found.end_lineno]
    if ast.get_docstring(found):
        docstring = found.body[0]
        after = (docstring.end_lineno or docstring.lineno) - found.lineno
        del lines[docstring.lineno - found.lineno : after + 1]
    return "\n".join(lines)
