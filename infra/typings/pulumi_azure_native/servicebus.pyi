from pulumi_azure_native.servicebus._enums import SkuName as SkuName
from pulumi_azure_native.servicebus._enums import SkuTier as SkuTier
from pulumi_azure_native.servicebus._inputs import SBSkuArgs as SBSkuArgs
from pulumi_azure_native.servicebus.namespace import Namespace as Namespace
from pulumi_azure_native.servicebus.queue import Queue as Queue
from pulumi_azure_native.servicebus.topic import Topic as Topic
