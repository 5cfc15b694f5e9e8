"""What operators see in Azure: the workbook and the alerts, which `make docs` writes and `infra/` deploys."""

from ops.azure.rules import alert_files
from ops.azure.workbook import workbook_files


def files() -> dict[str, str]:
    """Give the text of each file, by its path in the repository."""
    return {**workbook_files(), **alert_files()}
