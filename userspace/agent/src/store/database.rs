// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The file: a table of sessions, and one of their marks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::Found;
use super::record::{VERSION, from_bytes, name};
use crate::seal::Seal;
use crate::session::SessionId;

pub(super) const SESSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sessions");
pub(super) const MARKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("marks");

/// What the database may keep in memory.
const CACHE: usize = 64 << 20;

pub(super) fn open_file(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

pub(super) fn open_database(file: File) -> Result<Database, redb::Error> {
    let database = Database::builder()
        .set_cache_size(CACHE)
        .create_file(file)?;
    Ok(database)
}

pub(super) fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(MARKS)?;
    transaction.commit()?;
    Ok(())
}

/// What there is beside records of this version.
pub(super) enum Ages {
    /// So many older ones, which have been removed.
    Older(usize),
    /// A newer one, of this version. Nothing has been removed.
    Newer(u8),
}

/// Removes the records of older versions, and their marks.
pub(super) fn remove_older(database: &Database) -> Result<Ages, redb::Error> {
    let transaction = database.begin_write()?;
    let mut older = Vec::new();
    {
        let mut sessions = transaction.open_table(SESSIONS)?;
        for entry in sessions.iter()? {
            let (id, record) = entry?;
            match record.value().first() {
                Some(&version) if version > VERSION => return Ok(Ages::Newer(version)),
                Some(&version) if version < VERSION => older.push(id.value()),
                _ => (),
            }
        }
        let mut marks = transaction.open_table(MARKS)?;
        for id in &older {
            sessions.remove(id)?;
            marks.remove(id)?;
        }
    }
    if !older.is_empty() {
        transaction.commit()?;
    }
    Ok(Ages::Older(older.len()))
}

pub(super) fn load(database: &Database, seal: &Seal) -> Result<Vec<Found>, String> {
    let said = |problem: redb::Error| problem.to_string();
    let read = || -> Result<_, redb::Error> {
        let transaction = database.begin_read()?;
        Ok((
            transaction.open_table(SESSIONS)?,
            transaction.open_table(MARKS)?,
        ))
    };
    let (sessions, marks) = read().map_err(said)?;
    let mut opener = seal.opener();
    let mut found = Vec::new();
    for entry in sessions.iter().map_err(|problem| problem.to_string())? {
        let (number, record) = entry.map_err(|problem| problem.to_string())?;
        let id = SessionId::try_from(number.value()).map_err(|problem| problem.to_string())?;
        let sealed = match record.value().split_first() {
            Some((&VERSION, sealed)) => sealed,
            Some((other, _)) => return Err(format!("version {other} instead of {VERSION}")),
            None => return Err("an empty record".to_owned()),
        };
        let record = opener
            .open(&name(id), sealed)
            .map_err(|_| format!("session {id} was sealed with another key, or was changed"))?;
        let marks = marks
            .get(id.number())
            .map_err(|problem| problem.to_string())?;
        let marks = marks.as_ref().and_then(|marks| from_bytes(marks.value()));
        found.push(Found {
            id,
            state: from_bytes(&record).ok_or_else(|| format!("session {id} is damaged"))?,
            marks: marks.unwrap_or_default(),
        });
    }
    Ok(found)
}
