from pulumi_azure_native.keyvault._enums import SkuName as SkuName
from pulumi_azure_native.keyvault._inputs import NetworkRuleSetArgs as NetworkRuleSetArgs
from pulumi_azure_native.keyvault._inputs import SecretPropertiesArgs as SecretPropertiesArgs
from pulumi_azure_native.keyvault._inputs import SkuArgs as SkuArgs
from pulumi_azure_native.keyvault._inputs import VaultPropertiesArgs as VaultPropertiesArgs
from pulumi_azure_native.keyvault.secret import Secret as Secret
from pulumi_azure_native.keyvault.vault import Vault as Vault
