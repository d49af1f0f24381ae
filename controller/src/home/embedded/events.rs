//! What happened, in order: a bounded history.

use rusqlite::{Row, params};
use serde_json::Value;

use super::objects::{from_json, signed, time};
use super::{Batch, HomeError};
use crate::home::{EVENTS_AT_ONCE, StoredEvent};

/// How many events are kept at least; older ones go.
pub const EVENTS_MAX: u64 = 100_000;

/// Old events are removed once in so many new ones.
const SWEEP_EVERY: u64 = 1_000;

impl Batch<'_> {
    /// Adds an event to the history; `rollout` is empty for one that belongs to none.
    pub fn append_event(
        &mut self,
        event: &str,
        rollout: &str,
        data: &Value,
    ) -> Result<StoredEvent, HomeError> {
        let sql = "INSERT INTO events (time, event, rollout, data) VALUES (?1, ?2, ?3, ?4)";
        let append = || {
            let mut statement = self.transaction.prepare_cached(sql)?;
            statement.insert(params![
                self.now.to_string(),
                event,
                rollout,
                data.to_string()
            ])
        };
        let sequence = append()
            .map(i64::unsigned_abs)
            .map_err(HomeError::database("append an event"))?;
        if sequence.is_multiple_of(SWEEP_EVERY) {
            self.sweep(sequence)?;
        }
        let event = StoredEvent {
            sequence,
            time: self.now,
            event: event.to_owned(),
            rollout: rollout.to_owned(),
            data: data.clone(),
        };
        self.events.push(event.clone());
        Ok(event)
    }

    fn sweep(&self, newest: u64) -> Result<(), HomeError> {
        let oldest = signed(newest.saturating_sub(EVENTS_MAX));
        self.transaction
            .execute("DELETE FROM events WHERE sequence <= ?1", [oldest])
            .map_err(HomeError::database("remove old events"))?;
        Ok(())
    }

    /// The first events after number `since`, in order: those of `rollout`, or all where it is
    /// empty.
    pub fn events(&self, since: u64, rollout: &str) -> Result<Vec<StoredEvent>, HomeError> {
        let all = "SELECT * FROM events WHERE sequence > ?1 AND ?2 = '' ORDER BY sequence LIMIT ?3";
        let some =
            "SELECT * FROM events WHERE rollout = ?2 AND sequence > ?1 ORDER BY sequence LIMIT ?3";
        let sql = if rollout.is_empty() { all } else { some };
        let list = || {
            let mut statement = self.transaction.prepare_cached(sql)?;
            statement
                .query_map(params![signed(since), rollout, EVENTS_AT_ONCE], read)?
                .collect::<Result<Vec<_>, _>>()
        };
        list().map_err(HomeError::database("list events"))
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        sequence: row.get::<_, i64>("sequence")?.unsigned_abs(),
        time: time(row, "time")?,
        event: row.get("event")?,
        rollout: row.get("rollout")?,
        data: from_json(row, "data")?,
    })
}
