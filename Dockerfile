# The image of the platform: every process of the Procfile, chosen by the command.
#   docker build -t registry.example.com/lightning:1 .
# That of the chat has its packages besides:
#   docker build --build-arg LOCK=requirements-chat.lock -t registry.example.com/chat:1 .
# A release names the base by its digest: --build-arg BASE=python:3.13-slim-bookworm@sha256:...
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS packages
ARG LOCK=requirements.lock
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/lightning
COPY ${LOCK} /tmp/packages.lock
RUN /opt/lightning/bin/pip install --no-compile --require-hashes -r /tmp/packages.lock
COPY pyproject.toml README.md LICENSE /src/
COPY lightning /src/lightning
COPY brokers /src/brokers
COPY actors /src/actors
COPY agents /src/agents
COPY api /src/api
COPY worker /src/worker
COPY infra /src/infra
COPY ops /src/ops
WORKDIR /src
RUN /opt/lightning/bin/pip install --no-compile --no-deps . && /opt/lightning/bin/python -m compileall -qq /opt/lightning

FROM ${BASE}
ENV PATH=/opt/lightning/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    LIGHTNING_HOST=0.0.0.0 LIGHTNING_DATA=/var/lib/lightning LIGHTNING_LOG=json PORT=8000
# Debian keeps no older versions, so none is named; the base is what is fixed, by its digest
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /var/lib/lightning --shell /usr/sbin/nologin lightning \
    && install --directory --owner lightning --mode 0700 /var/lib/lightning
COPY --from=packages /opt/lightning /opt/lightning

USER 10001:10001
WORKDIR /var/lib/lightning
EXPOSE 8000
# each process answers here: the ingress with what it needs, the others that they live
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/api/health', timeout=4)"]
CMD ["python", "-m", "api.main"]
