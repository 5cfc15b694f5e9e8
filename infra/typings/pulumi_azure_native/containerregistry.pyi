from pulumi_azure_native.containerregistry._inputs import SkuArgs as SkuArgs
from pulumi_azure_native.containerregistry.registry import Registry as Registry
from pulumi_azure_native.containerregistry.replication import Replication as Replication
from pulumi_azure_native.containerregistry.scope_map import ScopeMap as ScopeMap
from pulumi_azure_native.containerregistry.token import Token as Token
