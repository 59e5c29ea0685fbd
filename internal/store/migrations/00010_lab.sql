-- Logs of experiments' steps, in pieces.

-- +goose Up
CREATE TABLE experiment_logs (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX experiment_logs_ord ON experiment_logs (ord);
CREATE INDEX experiment_logs_product ON experiment_logs (product, ord);
CREATE INDEX experiment_logs_state ON experiment_logs (state, ord);
CREATE INDEX experiment_logs_key ON experiment_logs (key, ord);

-- +goose Down
DROP TABLE experiment_logs;
