# The hub as an image: what requirements.lock and package-lock.json name, our sources, and the collected static files.
# `docker compose build` makes it; docs/production.md says how it is started.

# --- the front-end libraries: their dist files as they are
FROM node:22-bookworm-slim AS front
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

# --- the Python packages: wheels only, each with the hash that the lock gives
FROM python:3.13-slim-bookworm AS packages
# requirements-second-factor.lock where signing in takes a code besides the password (docs/production.md).
ARG LOCK=requirements.lock
COPY requirements.lock requirements-second-factor.lock ./
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r ${LOCK}

# --- the hub
FROM python:3.13-slim-bookworm
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HUB_NO_BOOTSTRAP=1 \
    HUB_DATA=/data
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin hub \
    && install -d -m 700 -o hub -g hub /data
WORKDIR /app
COPY --from=packages /venv /venv
COPY --from=front /app/node_modules ./node_modules
COPY manage.py ./
COPY hub ./hub
COPY devices ./devices
COPY bridge ./bridge
COPY dashboard ./dashboard
COPY simulators ./simulators
COPY clients/javascript ./clients/javascript
COPY clients/python/telemetry_hub ./clients/python/telemetry_hub
# A folder of its own for the key that every start makes where none is given: it must not be part of the image.
RUN HUB_DATA=/tmp/build python manage.py collectstatic --noinput --verbosity 0 \
    && rm -r /tmp/build \
    && python -m compileall -q bridge clients/python dashboard devices hub simulators
USER hub
EXPOSE 8000
# healthz asks the process alone: a lost database is no reason to restart the web server.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["daphne", "-v", "0", "-e", "tcp:8000:interface=0.0.0.0:backlog=4096", "--websocket_connect_timeout", "30", "hub.asgi:application"]
