"""Where telemetry and the services' own logs go."""

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import applicationinsights, monitor, operationalinsights

from infra.place import Place


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Telemetry of an installation.

    Parameters:
      workspace: The id of the Log Analytics workspace.
      component: The id of Application Insights.
      connection: By which processes find it; they sign in with their identities.
    """

    workspace: pulumi.Output[str]
    component: pulumi.Output[str]
    connection: pulumi.Output[str]


def make_monitoring(place: Place) -> Monitoring:
    """Make the workspace and Application Insights on it."""
    days = place.parameters.size.retention_days
    workspace = operationalinsights.Workspace(
        place.logical("workspace"),
        resource_group_name=place.group.name,
        workspace_name=place.name("logs"),
        location=place.location,
        sku=operationalinsights.WorkspaceSkuArgs(name="PerGB2018"),
        retention_in_days=days,
        features=operationalinsights.WorkspaceFeaturesArgs(disable_local_auth=True),
        tags=place.tags,
    )
    component = applicationinsights.Component(
        place.logical("telemetry"),
        resource_group_name=place.group.name,
        resource_name_=place.name("insights"),
        location=place.location,
        kind="web",
        application_type="web",
        ingestion_mode="LogAnalytics",
        workspace_resource_id=workspace.id,
        retention_in_days=days,
        disable_local_auth=True,
        tags=place.tags,
    )
    return Monitoring(workspace.id, component.id, component.connection_string)


def keep_logs(
    place: Place, monitoring: Monitoring, kind: str, of: pulumi.Input[str], *, has_logs: bool = True
) -> None:
    """Have a service's own logs and metrics kept with the telemetry.

    Parameters:
      place: The region.
      monitoring: Where they go.
      kind: A word for the service.
      of: Its id.
      has_logs: Whether it writes any; else it has metrics alone.
    """
    monitor.DiagnosticSetting(
        place.logical(f"logs-{kind}"),
        name="to-workspace",
        resource_uri=of,
        workspace_id=monitoring.workspace,
        logs=[monitor.DiagnosticsLogSettingsArgs(category_group="allLogs", enabled=True)] if has_logs else [],
        metrics=[monitor.DiagnosticsMetricSettingsArgs(category="AllMetrics", enabled=True)],
    )
