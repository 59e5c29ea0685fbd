-- The packages that composes are made of, in the shape of table.go.

-- +goose Up

CREATE TABLE packages (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX packages_ord ON packages (ord);
CREATE INDEX packages_product ON packages (product, ord);
CREATE INDEX packages_state ON packages (state, ord);
CREATE INDEX packages_key ON packages (key, ord);
