"""The workbook and the alerts that `ops/` keeps, deployed as they stand there."""

import json
from pathlib import Path
from typing import Any, Final

from pulumi_azure_native import applicationinsights, monitor

from infra.identities import stable_id
from infra.monitoring import Monitoring
from infra.place import Place

#: Workbooks are `*.workbook.json`, in the form of Azure's own editor. Alerts are `alerts/*.json`: the name is
#: the file's, and the text has `description`, `severity`, `query`, `threshold`, `frequency` and `window`.
FOLDER: Final = Path(__file__).parents[1] / "ops" / "azure"


def read_files(pattern: str, folder: Path = FOLDER) -> dict[str, Any]:
    """Read the JSON files of a pattern, by their names without the ending; none where there are none."""
    return {
        path.name.partition(".")[0]: json.loads(path.read_text()) for path in sorted(folder.glob(pattern))
    }


def watch(place: Place, monitoring: Monitoring) -> None:
    """Deploy the workbooks and the alerts; the operators get a mail when one fires."""
    for name, content in read_files("*.workbook.json").items():
        applicationinsights.Workbook(
            place.logical(f"workbook-{name}"),
            resource_group_name=place.group.name,
            resource_name_=stable_id(place, "workbook", name),
            location=place.location,
            kind="shared",
            category="workbook",
            display_name=f"Lightning {place.parameters.environment}: {name}",
            serialized_data=json.dumps(content),
            source_id=monitoring.component,
            tags=place.tags,
        )
    group = monitor.ActionGroup(
        place.logical("operators"),
        resource_group_name=place.group.name,
        action_group_name=place.name("operators"),
        group_short_name="operators",
        location="global",
        enabled=True,
        email_receivers=[
            monitor.MicrosoftCommonEmailReceiverArgs(
                name="operators", email_address=place.parameters.operators, use_common_alert_schema=True
            )
        ],
        tags=place.tags,
    )
    for name, alert in read_files("alerts/*.json").items():
        _alert(place, monitoring, group, name, alert)


def _alert(
    place: Place, monitoring: Monitoring, group: monitor.ActionGroup, name: str, alert: dict[str, Any]
) -> None:
    monitor.ScheduledQueryRule(
        place.logical(f"alert-{name}"),
        resource_group_name=place.group.name,
        rule_name=place.name(f"alert-{name}"),
        location=place.location,
        kind="LogAlert",
        display_name=name,
        description=alert["description"],
        severity=alert["severity"],
        enabled=True,
        scopes=[monitoring.component],
        evaluation_frequency=alert["frequency"],
        window_size=alert["window"],
        auto_mitigate=True,
        criteria=monitor.ScheduledQueryRuleCriteriaArgs(
            all_of=[
                monitor.ConditionArgs(
                    query=alert["query"],
                    operator="GreaterThan",
                    threshold=alert["threshold"],
                    time_aggregation="Count",
                )
            ]
        ),
        actions=monitor.ActionsArgs(action_groups=[group.id]),
        tags=place.tags,
    )
