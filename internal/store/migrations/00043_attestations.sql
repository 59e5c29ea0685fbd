-- Signed statements about artifacts, in the shape of table.go; and a wake for what was built and composed before there were any.

-- +goose Up

CREATE TABLE attestations (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX attestations_ord ON attestations (ord);
CREATE INDEX attestations_product ON attestations (product, ord);
CREATE INDEX attestations_state ON attestations (state, ord);
CREATE INDEX attestations_key ON attestations (key, ord);

INSERT INTO jobs (kind, key, due, wanted, epoch, leased, owner, attempts, dead, error)
SELECT 'provenance.build', id, 0, 1, 0, 0, '', 0, 0, '' FROM builds WHERE state = 'done';
INSERT INTO jobs (kind, key, due, wanted, epoch, leased, owner, attempts, dead, error)
SELECT 'provenance.compose', id, 0, 1, 0, 0, '', 0, 0, '' FROM composes WHERE state = 'finished';
