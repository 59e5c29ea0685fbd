-- The nouns of the stages: documents in tables of one shape (see table.go).

-- +goose Up

CREATE TABLE repos (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX repos_ord ON repos (ord);
CREATE INDEX repos_product ON repos (product, ord);
CREATE INDEX repos_state ON repos (state, ord);
CREATE INDEX repos_key ON repos (key, ord);

CREATE TABLE mirrors (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX mirrors_ord ON mirrors (ord);
CREATE INDEX mirrors_product ON mirrors (product, ord);
CREATE INDEX mirrors_state ON mirrors (state, ord);
CREATE INDEX mirrors_key ON mirrors (key, ord);

CREATE TABLE ref_intents (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX ref_intents_ord ON ref_intents (ord);
CREATE INDEX ref_intents_product ON ref_intents (product, ord);
CREATE INDEX ref_intents_state ON ref_intents (state, ord);
CREATE INDEX ref_intents_key ON ref_intents (key, ord);

CREATE TABLE products (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX products_ord ON products (ord);
CREATE INDEX products_product ON products (product, ord);
CREATE INDEX products_state ON products (state, ord);
CREATE INDEX products_key ON products (key, ord);

CREATE TABLE components (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX components_ord ON components (ord);
CREATE INDEX components_product ON components (product, ord);
CREATE INDEX components_state ON components (state, ord);
CREATE INDEX components_key ON components (key, ord);

CREATE TABLE changes (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX changes_ord ON changes (ord);
CREATE INDEX changes_product ON changes (product, ord);
CREATE INDEX changes_state ON changes (state, ord);
CREATE INDEX changes_key ON changes (key, ord);

CREATE TABLE waves (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX waves_ord ON waves (ord);
CREATE INDEX waves_product ON waves (product, ord);
CREATE INDEX waves_state ON waves (state, ord);
CREATE INDEX waves_key ON waves (key, ord);

CREATE TABLE builds (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX builds_ord ON builds (ord);
CREATE INDEX builds_product ON builds (product, ord);
CREATE INDEX builds_state ON builds (state, ord);
CREATE INDEX builds_key ON builds (key, ord);

CREATE TABLE entries (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX entries_ord ON entries (ord);
CREATE INDEX entries_product ON entries (product, ord);
CREATE INDEX entries_state ON entries (state, ord);
CREATE INDEX entries_key ON entries (key, ord);

CREATE TABLE candidates (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX candidates_ord ON candidates (ord);
CREATE INDEX candidates_product ON candidates (product, ord);
CREATE INDEX candidates_state ON candidates (state, ord);
CREATE INDEX candidates_key ON candidates (key, ord);

CREATE TABLE queues (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX queues_ord ON queues (ord);
CREATE INDEX queues_product ON queues (product, ord);
CREATE INDEX queues_state ON queues (state, ord);
CREATE INDEX queues_key ON queues (key, ord);

CREATE TABLE experiments (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX experiments_ord ON experiments (ord);
CREATE INDEX experiments_product ON experiments (product, ord);
CREATE INDEX experiments_state ON experiments (state, ord);
CREATE INDEX experiments_key ON experiments (key, ord);

CREATE TABLE nodes (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX nodes_ord ON nodes (ord);
CREATE INDEX nodes_product ON nodes (product, ord);
CREATE INDEX nodes_state ON nodes (state, ord);
CREATE INDEX nodes_key ON nodes (key, ord);

CREATE TABLE leases (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX leases_ord ON leases (ord);
CREATE INDEX leases_product ON leases (product, ord);
CREATE INDEX leases_state ON leases (state, ord);
CREATE INDEX leases_key ON leases (key, ord);

CREATE TABLE join_tokens (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX join_tokens_ord ON join_tokens (ord);
CREATE INDEX join_tokens_product ON join_tokens (product, ord);
CREATE INDEX join_tokens_state ON join_tokens (state, ord);
CREATE INDEX join_tokens_key ON join_tokens (key, ord);

CREATE TABLE results (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX results_ord ON results (ord);
CREATE INDEX results_product ON results (product, ord);
CREATE INDEX results_state ON results (state, ord);
CREATE INDEX results_key ON results (key, ord);

CREATE TABLE waivers (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX waivers_ord ON waivers (ord);
CREATE INDEX waivers_product ON waivers (product, ord);
CREATE INDEX waivers_state ON waivers (state, ord);
CREATE INDEX waivers_key ON waivers (key, ord);

CREATE TABLE releases (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX releases_ord ON releases (ord);
CREATE INDEX releases_product ON releases (product, ord);
CREATE INDEX releases_state ON releases (state, ord);
CREATE INDEX releases_key ON releases (key, ord);

CREATE TABLE composes (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX composes_ord ON composes (ord);
CREATE INDEX composes_product ON composes (product, ord);
CREATE INDEX composes_state ON composes (state, ord);
CREATE INDEX composes_key ON composes (key, ord);

CREATE TABLE models (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX models_ord ON models (ord);
CREATE INDEX models_product ON models (product, ord);
CREATE INDEX models_state ON models (state, ord);
CREATE INDEX models_key ON models (key, ord);

CREATE TABLE node_states (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX node_states_ord ON node_states (ord);
CREATE INDEX node_states_product ON node_states (product, ord);
CREATE INDEX node_states_state ON node_states (state, ord);
CREATE INDEX node_states_key ON node_states (key, ord);

CREATE TABLE users (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX users_ord ON users (ord);
CREATE INDEX users_product ON users (product, ord);
CREATE INDEX users_state ON users (state, ord);
CREATE INDEX users_key ON users (key, ord);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX tokens_ord ON tokens (ord);
CREATE INDEX tokens_product ON tokens (product, ord);
CREATE INDEX tokens_state ON tokens (state, ord);
CREATE INDEX tokens_key ON tokens (key, ord);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX sessions_ord ON sessions (ord);
CREATE INDEX sessions_product ON sessions (product, ord);
CREATE INDEX sessions_state ON sessions (state, ord);
CREATE INDEX sessions_key ON sessions (key, ord);

CREATE TABLE subscriptions (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX subscriptions_ord ON subscriptions (ord);
CREATE INDEX subscriptions_product ON subscriptions (product, ord);
CREATE INDEX subscriptions_state ON subscriptions (state, ord);
CREATE INDEX subscriptions_key ON subscriptions (key, ord);

CREATE TABLE deliveries (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX deliveries_ord ON deliveries (ord);
CREATE INDEX deliveries_product ON deliveries (product, ord);
CREATE INDEX deliveries_state ON deliveries (state, ord);
CREATE INDEX deliveries_key ON deliveries (key, ord);

CREATE TABLE artifacts (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX artifacts_ord ON artifacts (ord);
CREATE INDEX artifacts_product ON artifacts (product, ord);
CREATE INDEX artifacts_state ON artifacts (state, ord);
CREATE INDEX artifacts_key ON artifacts (key, ord);

CREATE TABLE settings (
    id TEXT PRIMARY KEY, ord BIGINT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX settings_ord ON settings (ord);
CREATE INDEX settings_product ON settings (product, ord);
CREATE INDEX settings_state ON settings (state, ord);
CREATE INDEX settings_key ON settings (key, ord);

-- +goose Down
DROP TABLE settings;
DROP TABLE artifacts;
DROP TABLE deliveries;
DROP TABLE subscriptions;
DROP TABLE sessions;
DROP TABLE tokens;
DROP TABLE users;
DROP TABLE node_states;
DROP TABLE models;
DROP TABLE composes;
DROP TABLE releases;
DROP TABLE waivers;
DROP TABLE results;
DROP TABLE join_tokens;
DROP TABLE leases;
DROP TABLE nodes;
DROP TABLE experiments;
DROP TABLE queues;
DROP TABLE candidates;
DROP TABLE entries;
DROP TABLE builds;
DROP TABLE waves;
DROP TABLE changes;
DROP TABLE components;
DROP TABLE products;
DROP TABLE ref_intents;
DROP TABLE mirrors;
DROP TABLE repos;
