-- Waves in pieces: what was asked for, a row for each action, news of builds, and what builds are found by. And rebuilds.

-- +goose Up
CREATE TABLE orders (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX orders_ord ON orders (ord);

CREATE TABLE items (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX items_ord ON items (ord);
CREATE INDEX items_key ON items (key, ord);

CREATE TABLE news (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX news_ord ON news (ord);
CREATE INDEX news_key ON news (key, ord);

CREATE TABLE marks (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX marks_ord ON marks (ord);
CREATE INDEX marks_key ON marks (key, ord);

CREATE TABLE rebuilds (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX rebuilds_ord ON rebuilds (ord);
CREATE INDEX rebuilds_product ON rebuilds (product, ord);
CREATE INDEX rebuilds_state ON rebuilds (state, ord);
CREATE INDEX rebuilds_key ON rebuilds (key, ord);

-- +goose Down
DROP TABLE rebuilds;
DROP TABLE marks;
DROP TABLE news;
DROP TABLE items;
DROP TABLE orders;
