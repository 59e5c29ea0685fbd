-- +goose Up

CREATE TABLE writer (one BIGINT PRIMARY KEY);

CREATE TABLE events (
    seq     BIGINT PRIMARY KEY,
    id      TEXT   NOT NULL UNIQUE,
    type    TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    product TEXT   NOT NULL,
    actor   TEXT   NOT NULL,
    time    BIGINT NOT NULL,
    reason  TEXT   NOT NULL,
    links   TEXT   NOT NULL,
    data    TEXT   NOT NULL
);
CREATE INDEX events_subject ON events (subject, seq);
CREATE INDEX events_product ON events (product, seq);
CREATE INDEX events_type ON events (type, seq);

CREATE TABLE event_links (
    link TEXT   NOT NULL,
    seq  BIGINT NOT NULL,
    PRIMARY KEY (link, seq)
);

CREATE TABLE jobs (
    kind     TEXT   NOT NULL,
    key      TEXT   NOT NULL,
    due      BIGINT NOT NULL,
    wanted   BIGINT NOT NULL,
    epoch    BIGINT NOT NULL,
    leased   BIGINT NOT NULL, -- until when; 0: nobody has it
    owner    TEXT   NOT NULL,
    attempts BIGINT NOT NULL,
    dead     BIGINT NOT NULL,
    error    TEXT   NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX jobs_due ON jobs (dead, due);
CREATE INDEX jobs_leased ON jobs (leased);

CREATE TABLE counters (
    name  TEXT   PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE cursors (
    name  TEXT   PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE ref_updates (
    seq   BIGINT PRIMARY KEY,
    repo  TEXT   NOT NULL,
    ref   TEXT   NOT NULL,
    old   TEXT   NOT NULL,
    new   TEXT   NOT NULL,
    actor TEXT   NOT NULL,
    time  BIGINT NOT NULL
);
CREATE INDEX ref_updates_ref ON ref_updates (repo, ref, time);
CREATE INDEX ref_updates_new ON ref_updates (new);

CREATE TABLE edges (
    product     TEXT   NOT NULL,
    component   TEXT   NOT NULL, -- the one that needs
    branch      TEXT   NOT NULL,
    needs       TEXT   NOT NULL, -- the one that is needed
    since       BIGINT NOT NULL,
    since_commit TEXT  NOT NULL,
    until       BIGINT NOT NULL, -- 0: still so
    PRIMARY KEY (product, component, branch, needs, since)
);
CREATE INDEX edges_needs ON edges (needs, until);

-- +goose Down
DROP TABLE edges;
DROP TABLE ref_updates;
DROP TABLE cursors;
DROP TABLE counters;
DROP TABLE jobs;
DROP TABLE event_links;
DROP TABLE events;
DROP TABLE writer;
