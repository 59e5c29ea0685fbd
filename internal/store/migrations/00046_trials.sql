-- Runs of checks on candidates, and certificates of landings; in the shape of table.go.

-- +goose Up
CREATE TABLE trials (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX trials_ord ON trials (ord);
CREATE INDEX trials_product ON trials (product, ord);
CREATE INDEX trials_state ON trials (state, ord);
CREATE INDEX trials_key ON trials (key, ord);

CREATE TABLE certificates (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX certificates_ord ON certificates (ord);
CREATE INDEX certificates_product ON certificates (product, ord);
CREATE INDEX certificates_state ON certificates (state, ord);
CREATE INDEX certificates_key ON certificates (key, ord);

-- +goose Down
DROP TABLE certificates;
DROP TABLE trials;
