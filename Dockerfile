# The image of the acceptance stack: the worker, the simulators, the small app and its tests. Not for production as it
# is: it holds the test tools too, because the lock is one.
FROM python:3.11-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_LINK_MODE=copy
RUN pip install --quiet 'uv==0.13.9' && uv venv --quiet /opt/venv
WORKDIR /src
# the dependencies first: this layer is made anew only when the lock changes
COPY requirements.lock ./
RUN uv pip install --quiet --python /opt/venv/bin/python --compile-bytecode --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY fin_infra ./fin_infra
COPY jobs ./jobs
COPY schedules ./schedules
# installed as a user would have it, from its wheel: jobs/ and schedules/ are those inside the package
RUN uv pip install --quiet --python /opt/venv/bin/python --compile-bytecode --no-deps --no-build-isolation .

FROM python:3.11-slim-trixie
# pip is of no use from here on, and would only be scanned
# a new volume takes the owner and mode of this folder: worker and app share it, nobody else reads it
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin fin \
    && install --directory --owner=fin --group=fin --mode=0700 /var/lib/fin-infra \
    && python -m pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/acceptance
COPY pyproject.toml ./
COPY tests ./tests
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER fin
STOPSIGNAL SIGTERM
CMD ["fin-infra", "worker"]
