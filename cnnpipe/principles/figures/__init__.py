"""One figure per claim of the theory: `draw`, in the module with the claim's name.

A figure is drawn from the tables and details of a `Finding`; titles ask, numbers answer.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

Tables = Mapping[str, pd.DataFrame]
Details = Mapping[str, Any]
