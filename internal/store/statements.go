package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"

	"modernc.org/sqlite"
)

// maxStatements bounds the statements that a connection keeps.
const maxStatements = 256

// openKeeping opens SQLite databases whose connections keep the statements that they have prepared: parsing one takes longer than running it.
func openKeeping(dsn string) (*sql.DB, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(keeping{c}), nil
}

type keeping struct{ driver.Connector }

// Connect implements [driver.Connector].
func (k keeping) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	whole, ok := c.(wholeConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("the SQLite driver's connections are not what they were")
	}
	return &keepingConn{wholeConn: whole, kept: map[string]wholeStmt{}}, nil
}

// wholeConn and wholeStmt are what the driver's have.
type wholeConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type wholeStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// keepingConn is a connection; database/sql has one caller at a time use it.
type keepingConn struct {
	wholeConn
	kept map[string]wholeStmt // those that nobody uses
}

// take returns a prepared statement, or nil for what is better not kept. It is the caller's alone until it is put back.
func (c *keepingConn) take(ctx context.Context, query string) (wholeStmt, error) {
	if s := c.kept[query]; s != nil {
		delete(c.kept, query)
		return s, nil
	}
	verb, _, _ := strings.Cut(strings.TrimSpace(query), " ")
	switch strings.TrimSpace(verb) {
	case "SELECT", "INSERT", "UPDATE", "DELETE":
	default:
		return nil, nil
	}
	if strings.Contains(query, ";") { // several, perhaps
		return nil, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	whole, ok := s.(wholeStmt)
	if !ok {
		return nil, s.Close()
	}
	return whole, nil
}

func (c *keepingConn) put(query string, s wholeStmt) error {
	if len(c.kept) >= maxStatements || c.kept[query] != nil {
		return s.Close()
	}
	c.kept[query] = s
	return nil
}

// ExecContext implements [driver.ExecerContext].
func (c *keepingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.wholeConn.ExecContext(ctx, query, args)
	}
	res, err := s.ExecContext(ctx, args)
	if err != nil {
		s.Close() //nolint:errcheck // err is what matters
		return nil, err
	}
	return res, c.put(query, s)
}

// QueryContext implements [driver.QueryerContext].
func (c *keepingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.wholeConn.QueryContext(ctx, query, args)
	}
	rows, err := s.QueryContext(ctx, args)
	if err != nil {
		s.Close() //nolint:errcheck // err is what matters
		return nil, err
	}
	return &keptRows{Rows: rows, done: func() error { return c.put(query, s) }}, nil
}

// Close implements [driver.Conn].
func (c *keepingConn) Close() error {
	for _, s := range c.kept {
		s.Close() //nolint:errcheck // the connection's end frees all
	}
	clear(c.kept)
	return c.wholeConn.Close()
}

// keptRows give their statement back when they are closed.
type keptRows struct {
	driver.Rows
	done func() error
}

// Close implements [driver.Rows].
func (r *keptRows) Close() error {
	err := r.Rows.Close()
	if done := r.done; done != nil {
		r.done = nil
		if e := done(); err == nil {
			err = e
		}
	}
	return err
}
