-- The farm: tasks in flight or ended lately, and the action cache.

-- +goose Up
CREATE TABLE tasks (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX tasks_ord ON tasks (ord);
CREATE INDEX tasks_product ON tasks (product, ord);
CREATE INDEX tasks_state ON tasks (state, ord);
CREATE INDEX tasks_key ON tasks (key, ord);

CREATE TABLE action_results (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX action_results_ord ON action_results (ord);
CREATE INDEX action_results_product ON action_results (product, ord);
CREATE INDEX action_results_state ON action_results (state, ord);
CREATE INDEX action_results_key ON action_results (key, ord);

-- Builds wait as tasks now; those that were waiting as jobs are made tasks when the server starts.
DELETE FROM jobs WHERE kind = 'build.run';

-- +goose Down
DROP TABLE action_results;
DROP TABLE tasks;
