-- Deployment: products in service, what versions ask of nodes, and dry runs.

-- +goose Up
CREATE TABLE deployments (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX deployments_ord ON deployments (ord);
CREATE INDEX deployments_product ON deployments (product, ord);
CREATE INDEX deployments_state ON deployments (state, ord);
CREATE INDEX deployments_key ON deployments (key, ord);

CREATE TABLE model_slices (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX model_slices_ord ON model_slices (ord);
CREATE INDEX model_slices_product ON model_slices (product, ord);
CREATE INDEX model_slices_state ON model_slices (state, ord);
CREATE INDEX model_slices_key ON model_slices (key, ord);

CREATE TABLE dry_runs (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX dry_runs_ord ON dry_runs (ord);
CREATE INDEX dry_runs_product ON dry_runs (product, ord);
CREATE INDEX dry_runs_state ON dry_runs (state, ord);
CREATE INDEX dry_runs_key ON dry_runs (key, ord);

-- +goose Down
DROP TABLE dry_runs;
DROP TABLE model_slices;
DROP TABLE deployments;
