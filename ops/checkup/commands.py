"""Commands that mend what is wrong, for who asks Azure with these settings."""

from urllib.parse import urlsplit

from lightning.settings import Settings

_ME = '"$(az ad signed-in-user show --query id --output tsv)"'


def who(settings: Settings) -> str:
    """Give the id of who asks, as an expression of the shell."""
    if settings.identity == "az":
        return _ME
    if settings.azure_client_id is None:
        return "ID-OF-THE-IDENTITY"
    return f'"$(az ad sp show --id {settings.azure_client_id} --query id --output tsv)"'


def of_resource(kind: str, name: str, field: str = "id") -> str:
    """Give what Azure says of a resource, as an expression of the shell.

    Parameters:
      kind: Its type, such as ``Microsoft.ServiceBus/namespaces``.
      name: Its name.
      field: What is wanted of it.
    """
    return f'"$(az resource list --resource-type {kind} --name {name} --query [0].{field} --output tsv)"'


def give_role(settings: Settings, role: str, scope: str) -> str:
    """Give the command that lets who asks do something.

    Parameters:
      settings: They say who asks.
      role: The name of the role.
      scope: On what, as an expression of the shell.
    """
    return f"az role assignment create --assignee-object-id {who(settings)} --role '{role}' --scope {scope}"


def first_word(address: str) -> str:
    """Give the name of a resource, which begins its host name."""
    host = urlsplit(address).hostname or address
    return host.partition(".")[0]
