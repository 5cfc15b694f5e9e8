"""The Azure resources of an installation."""
