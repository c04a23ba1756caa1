# The image holds Lowtide and what it needs, and nothing to build with. What is yours (config.toml,
# .env, data) is in the folder that is mounted at /data; the rest may be read-only.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/lowtide \
 && /opt/lowtide/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: \
    -r requirements.lock
COPY pyproject.toml README.md LICENSE config.toml config.tests.toml sectors.toml ./
COPY bot bot
COPY rules rules
COPY streams streams
RUN /opt/lowtide/bin/python -m pip install --no-deps --no-build-isolation --no-index . \
 && /opt/lowtide/bin/python -m pip uninstall --yes setuptools \
 && /opt/lowtide/bin/python -m pip uninstall --yes pip

FROM python:3.13-slim-bookworm
RUN groupadd --gid 10001 lowtide \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data lowtide \
 && install -d -m 700 -o lowtide -g lowtide /data
COPY --from=build /opt/lowtide /opt/lowtide
ENV PATH=/opt/lowtide/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
# Whether the process goes on, not whether a venue is away: that is no reason to start it anew.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8737/healthz', timeout=5)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["lowtide"]
CMD ["run"]
