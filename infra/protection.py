"""What keeps production from being deleted, and its bill from being a surprise."""

from pulumi_azure_native import authorization, consumption

from infra.place import Place


def protect(place: Place) -> None:
    """Lock the resource group, and tell the operators when the month's money runs out; in production."""
    if place.parameters.environment != "prod":
        return
    authorization.ManagementLockByScope(
        place.logical("lock"),
        lock_name="no-deletion",
        level="CanNotDelete",
        notes="It holds the log of all events. docs/operations.md tells when and how to lift this.",
        scope=place.group.id,
    )
    for kind, group in (("platform", place.group), ("runs", place.runs)):
        consumption.Budget(
            place.logical(f"budget-{kind}"),
            budget_name=place.name(f"budget-{kind}"),
            scope=group.id,
            amount=place.parameters.monthly_budget,
            category="Cost",
            time_grain="Monthly",
            time_period=consumption.BudgetTimePeriodArgs(
                start_date=f"{place.parameters.budget_start}T00:00:00Z"
            ),
            notifications={
                name: consumption.NotificationArgs(
                    enabled=True,
                    operator="GreaterThan",
                    threshold=percent,
                    threshold_type=kind_of,
                    contact_emails=[place.parameters.operators],
                )
                for name, percent, kind_of in (
                    ("spent-80", 80, "Actual"),
                    ("spent-all", 100, "Actual"),
                    ("will-be-spent", 100, "Forecasted"),
                )
            },
        )
