"""What the ledger says: queries on the contract's tables."""
import psycopg2
import psycopg2.errors
import psycopg2.extras

from .waiting import wait_until

FINAL = ("accepted", "dead")


class Ledger:
    def __init__(self, dsn, schema="signup"):
        self.dsn, self.schema = dsn, schema

    def query(self, sql, parameters=None):
        """Rows as dictionaries; `{schema}` in `sql` is the schema's name."""
        connection = psycopg2.connect(self.dsn, cursor_factory=psycopg2.extras.RealDictCursor)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.replace("{schema}", self.schema), parameters)
                return [dict(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            connection.close()

    def row(self, event_id):
        """The row of an event, or None."""
        rows = self.query("SELECT * FROM {schema}.event WHERE event_id = %s", (event_id,))
        return rows[0] if rows else None

    def rows(self, where="true", parameters=None):
        return self.query('SELECT * FROM {schema}.event WHERE ' + where +
                          ' ORDER BY topic, "partition", "offset"', parameters)

    def warnings(self, event_id):
        """[(source, code)] of an event, in order."""
        rows = self.query("SELECT source, code FROM {schema}.warning WHERE event_id = %s ORDER BY at, source, code",
                          (event_id,))
        return [(row["source"], row["code"]) for row in rows]

    def attempts(self, event_id):
        return self.query("SELECT * FROM {schema}.attempt WHERE event_id = %s ORDER BY attempt", (event_id,))

    def states(self):
        """{state: rows}; empty where there is no schema yet."""
        try:
            return {row["state"]: row["n"]
                    for row in self.query("SELECT state, count(*) AS n FROM {schema}.event GROUP BY state")}
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
            return {}

    def codes(self):
        """{(state, code): rows}."""
        rows = self.query("SELECT state, code, count(*) AS n FROM {schema}.event GROUP BY state, code")
        return {(row["state"], row["code"]): row["n"] for row in rows}

    def wait_states(self, timeout=60, **wanted):
        """Until exactly these states have exactly these counts: wait_states(accepted=3, dead=1)."""
        wait_until(lambda: self.states() == wanted, timeout, lambda: f"states {self.states()}, wanted {wanted}")

    def wait_final(self, count, timeout=60):
        """Until `count` rows are final and none is claimed; returns {state: rows}."""
        def final():
            states = self.states()
            return states if sum(states.get(state, 0) for state in FINAL) == count and not states.get("claimed") else None
        return wait_until(final, timeout, lambda: f"{count} final rows, but {self.states()}")

    def wait_row(self, event_id, timeout=30, **wanted):
        """Until the row exists with these values; returns it."""
        def matches():
            row = self.row(event_id) if self.states() else None
            return row if row and all(row[name] == value for name, value in wanted.items()) else None
        return wait_until(matches, timeout, lambda: f"row {event_id} with {wanted}: {self.row(event_id)}")

    def summary(self):
        """For a failed test: counts, and the first rows without what could be personal."""
        try:
            rows = self.rows()
        except psycopg2.Error as error:
            return f"(no ledger: {str(error).strip()})"
        lines = [f"{row['event_id']:<40.40} {row['topic']}:{row['partition']}:{row['offset']} {row['state']} "
                 f"attempts={row['attempts']} status={row['http_status']} code={row['code']} error={row['error']}"
                 for row in rows[:20]]
        return "\n".join([f"{len(rows)} rows: {self.states()}", *lines])
