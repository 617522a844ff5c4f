# Tulle's image: ipamd, the agent, and what the agent installs on a node. No shell, no package manager.
#
#   docker build -t tulle:dev .
#   docker buildx build --platform linux/amd64,linux/arm64 -t tulle:dev .

# The executables need no newer glibc than this image has, on the node too.
FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates nodejs npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The packages first: they change less often than the code.
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run image -- --root /image

FROM scratch
LABEL org.opencontainers.image.title="tulle" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
ENV PATH=/opt/tulle/bin
ENTRYPOINT ["tullectl"]
