"""As many workers as the queues need."""

from typing import Final

import pulumi
from pulumi_azure_native import monitor, web

from infra.messaging import Messaging
from infra.place import Place

Compare = monitor.ComparisonOperationType

#: More messages than this in one queue, for five minutes, and there is one instance more.
MESSAGES: Final = 200

#: The processor of the machines, in percent: above, one more; below, one less.
BUSY_PERCENT: Final = 70
IDLE_PERCENT: Final = 25


def scale(place: Place, plan: web.AppServicePlan, messaging: Messaging) -> None:
    """Have the plan grow with any queue that is not bulk, and shrink when the machines have little to do.

    A backlog of bulk does not count: it is what its users may wait for.
    """
    fewest, most = place.parameters.size.workers
    queues = [name for name in messaging.queues if not name.endswith("-bulk")]
    more = [_rule(_backlog(messaging, name), more=True) for name in queues]
    rules = [
        *more,
        _rule(_processor(plan.id, Compare.GREATER_THAN, BUSY_PERCENT), more=True),
        _rule(_processor(plan.id, Compare.LESS_THAN, IDLE_PERCENT), more=False),
    ]
    if len(rules) > 10:
        raise ValueError(f"Azure takes 10 rules of scaling, and there are {len(rules)}: leave a queue out")
    monitor.AutoscaleSetting(
        place.logical("scaling"),
        resource_group_name=place.group.name,
        autoscale_setting_name=place.name("scaling"),
        location=place.location,
        enabled=True,
        target_resource_uri=plan.id,
        profiles=[
            monitor.AutoscaleProfileArgs(
                name="by queue length",
                capacity=monitor.ScaleCapacityArgs(
                    minimum=str(fewest), maximum=str(most), default=str(fewest)
                ),
                rules=rules,
            )
        ],
        tags=place.tags,
    )


def _backlog(messaging: Messaging, queue: str) -> monitor.MetricTriggerArgs:
    return monitor.MetricTriggerArgs(
        metric_name="ActiveMessages",
        metric_namespace="Microsoft.ServiceBus/namespaces",
        metric_resource_uri=messaging.id,
        dimensions=[
            monitor.ScaleRuleMetricDimensionArgs(
                dimension_name="EntityName", operator="Equals", values=[queue]
            )
        ],
        operator=Compare.GREATER_THAN,
        threshold=MESSAGES,
        statistic=monitor.MetricStatisticType.AVERAGE,
        time_aggregation=monitor.TimeAggregationType.AVERAGE,
        time_grain="PT1M",
        time_window="PT5M",
        divide_per_instance=True,
    )


def _processor(plan: pulumi.Input[str], operator: Compare, percent: int) -> monitor.MetricTriggerArgs:
    return monitor.MetricTriggerArgs(
        metric_name="CpuPercentage",
        metric_resource_uri=plan,
        operator=operator,
        threshold=percent,
        statistic=monitor.MetricStatisticType.AVERAGE,
        time_aggregation=monitor.TimeAggregationType.AVERAGE,
        time_grain="PT1M",
        time_window="PT10M",
    )


def _rule(trigger: monitor.MetricTriggerArgs, *, more: bool) -> monitor.ScaleRuleArgs:
    action = monitor.ScaleActionArgs(
        direction=monitor.ScaleDirection.INCREASE if more else monitor.ScaleDirection.DECREASE,
        type=monitor.ScaleType.CHANGE_COUNT,
        value="1",
        cooldown="PT3M" if more else "PT10M",
    )
    return monitor.ScaleRuleArgs(metric_trigger=trigger, scale_action=action)
