"""A scripted language model that speaks OpenAI's chat completions on loopback.

`Step` describes what a script can do. Beside the provider's own endpoints there are
``GET /control/requests[?summary=1]``, ``DELETE /control/requests``, ``POST /control/script``,
``GET /control/held`` and ``POST /control/release[?count=N][&keep=N]``.
"""

from ops.emulators.openai.app import ScriptedModel
from ops.emulators.openai.script import Step
from ops.emulators.openai.server import main, serve

__all__ = ["ScriptedModel", "Step", "main", "serve"]
