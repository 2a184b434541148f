# The Earwitness command without torch: workers, simulated fleets and administration.

FROM python:3.12-bookworm AS build
RUN pip install --no-cache-dir uv==0.13.8
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --extra triton --no-install-project
COPY LICENSE README.md ./
COPY earwitness earwitness
COPY infra infra
COPY models models
COPY processors processors
COPY producers producers
COPY schemas schemas
RUN uv sync --frozen --no-dev --extra triton

FROM python:3.12-slim-bookworm
RUN useradd --system --no-create-home --shell /usr/sbin/nologin --uid 10001 earwitness
# A new volume takes its owner from what it is mounted on.
RUN install --directory --owner=earwitness /models
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER earwitness
EXPOSE 9464
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
ENTRYPOINT ["earwitness"]
CMD ["--help"]
