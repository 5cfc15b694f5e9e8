"""Application Insights as a destination, by Azure Monitor's exporter."""

import logging
from typing import Any, Final

from azure.monitor.opentelemetry.exporter import (
    AzureMonitorLogExporter,
    AzureMonitorMetricExporter,
)

from lightning.azure_identity import Identity, own_identity
from lightning.keys import secret
from lightning.settings import Settings, tell_libraries
from lightning.telemetry.azure_envelopes import TemplateExporter
from lightning.telemetry.destination import REQUEST_SECONDS, Destination

#: The exporter looks for these in the environment alone. Without them it reports about itself to Microsoft,
#: takes orders from there, and adds an envelope about the process to every batch.
SWITCHES: Final = {
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED": "true",
}

#: How often a request is tried again that the service could not take.
RETRIES: Final = 2


def open_application_insights(settings: Settings) -> Destination:
    """Open the resource that the settings name.

    Raises:
      SettingsError: They name none.
    """
    connection = secret(settings.monitor_connection, "APPLICATIONINSIGHTS_CONNECTION_STRING")
    signs_in = settings.monitor_identity == "1"
    identity = own_identity(settings.identity, settings.azure_client_id) if signs_in else None
    return open_azure_monitor(connection, identity)


def open_azure_monitor(connection: str, identity: Identity | None) -> Destination:
    """Open the resource that a connection string names.

    Nothing is written to disk, no metadata service is asked unless an identity signs in, and live metrics
    are off: what is sent goes to the ingestion endpoint of the connection string and nowhere else.

    Parameters:
      connection: The connection string.
      identity: Who signs in, as where local authentication is switched off; None: nobody.
    """
    tell_libraries(SWITCHES)
    # it would tell of each failure, with the envelopes that were lost
    logging.getLogger("azure.monitor.opentelemetry.exporter").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {
        "connection_string": connection,
        "disable_offline_storage": True,
        "timeout": REQUEST_SECONDS,
        "read_timeout": REQUEST_SECONDS,
        "retry_total": RETRIES,
    }
    if identity is not None:
        options["credential"] = identity
    return Destination(
        "Azure Monitor",
        TemplateExporter(**options),
        AzureMonitorLogExporter(**options),
        AzureMonitorMetricExporter(**options),
        takes_exemplars=False,
    )
