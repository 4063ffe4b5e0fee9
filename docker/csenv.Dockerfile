# The image of one environment: the three Dockerfiles differ in the line `ARG ENVIRONMENT` alone. Plain COPY and RUN, so that the
# classic builder, BuildKit, podman and buildah all build it. The build context is the checkout; `make images` gives the arguments.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}

RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3.11 python3.11-venv ca-certificates tini \
 && rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/ldconfig/aux-cache

# Third-party packages first, our code last: a change of code does not download them again.
ARG ENVIRONMENT=csenv
ARG STACK=paper
COPY docker/uv.txt /tmp/uv.txt
COPY ${ENVIRONMENT}/locks/${STACK}.txt /tmp/lock.txt
COPY docker/install.sh /tmp/install.sh
RUN sh /tmp/install.sh /opt/facttune /tmp/lock.txt /tmp/uv.txt

ENV PATH=/opt/facttune/bin:/usr/bin:/bin \
    PYTHONPATH=/app/volume/src:/app/${ENVIRONMENT}/src \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY volume/src /app/volume/src
COPY ${ENVIRONMENT}/src /app/${ENVIRONMENT}/src
WORKDIR /data

ARG BASE_NAME=
ARG BASE_DIGEST=
ARG LOCK_SHA256=
ARG GIT_COMMIT=
ARG SM_LIST=
LABEL org.facttune.env="${ENVIRONMENT}" \
      org.facttune.stack="${STACK}" \
      org.facttune.lock-sha256="${LOCK_SHA256}" \
      org.facttune.sm-list="${SM_LIST}" \
      org.opencontainers.image.base.name="${BASE_NAME}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}" \
      org.opencontainers.image.revision="${GIT_COMMIT}"
