from pulumi_azure_native.managedidentity.user_assigned_identity import (
    UserAssignedIdentity as UserAssignedIdentity,
)
