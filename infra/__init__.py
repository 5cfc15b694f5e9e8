"""The Azure resources of an installation: a Pulumi program, and the policies that it is held to."""
