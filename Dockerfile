# The Waylog server. Build: docker build -t waylog .   Needs: DATABASE_URL, and a way to know who calls: WAYLOG_ADMIN_KEY,
# WAYLOG_JWT_ISSUER, or keys in the database (node dist/apps/cli/src/main.js keys create).
# docker build --build-arg NODE_IMAGE=node:20.20.2-bookworm-slim@sha256:... pins the digest, too.
ARG NODE_IMAGE=node:20.20.2-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
# .npmrc keeps scripts of dependencies from running.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund

FROM dependencies AS build
COPY . .
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM ${NODE_IMAGE}
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# What the server may write to, and where the files with its secrets are put.
RUN install -d -o node -g node -m 700 /var/lib/waylog
USER node
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/ready`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "dist/apps/server/src/main.js"]
