# One image for every process of docker-compose.yml; the command chooses which.
FROM python:3.13-slim AS build
WORKDIR /app
RUN python -m venv /venv
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY worker worker
COPY migrations migrations
RUN /venv/bin/pip install --no-cache-dir '.[fast]' -c requirements.lock

FROM python:3.13-slim
# An ordinary user: nothing here needs more.
RUN useradd --create-home resolver
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 LEAD_RESOLVER_LOG_FORMAT=json
USER resolver
WORKDIR /home/resolver
CMD ["lead-resolver", "--help"]
