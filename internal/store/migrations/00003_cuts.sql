-- Releases under way: what has been promised to a queue entry before the refs moved.

-- +goose Up
CREATE TABLE cuts (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX cuts_ord ON cuts (ord);
CREATE INDEX cuts_product ON cuts (product, ord);
CREATE INDEX cuts_state ON cuts (state, ord);
CREATE INDEX cuts_key ON cuts (key, ord);

-- +goose Down
DROP TABLE cuts;
