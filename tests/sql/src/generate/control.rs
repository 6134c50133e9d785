//! Transactions, savepoints, attached databases, pragmas, VACUUM.

use super::Generator;

impl Generator {
    pub(super) fn end_of_transaction(&mut self) -> String {
        self.random.pick(&["COMMIT", "COMMIT", "COMMIT", "END", "ROLLBACK", "ROLLBACK"]).to_owned()
    }

    pub(super) fn transaction_control(&mut self) -> String {
        let name = self.random.pick(&["s1", "s2", "s3"]);
        let (inside, savepoints) = (self.seat().in_transaction, self.seat().savepoints);
        if !inside && self.random.percent(70) {
            return self
                .random
                .pick(&["BEGIN", "BEGIN DEFERRED", "BEGIN IMMEDIATE", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
                .to_owned();
        }
        let weights = if savepoints > 0 { [25, 25, 25, 6, 5] } else { [60, 2, 2, 12, 6] };
        match self.random.weighted(&weights) {
            0 => format!("SAVEPOINT {name}"),
            1 => format!("RELEASE {name}"),
            2 => format!("ROLLBACK TO {name}"),
            3 => self.attached(),
            _ => self.vacuum(),
        }
    }

    fn attached(&mut self) -> String {
        if self.seat().model.attached {
            if self.random.percent(70) { "DETACH aux" } else { "ATTACH '{aux}' AS aux" }.to_owned()
        } else {
            match self.random.below(12) {
                0 => "DETACH aux",
                1 => "ATTACH ':memory:' AS aux",
                _ => "ATTACH '{aux}' AS aux",
            }
            .to_owned()
        }
    }

    fn vacuum(&mut self) -> String {
        match self.random.below(8) {
            0 if self.seat().model.attached => "VACUUM aux".to_owned(),
            1 => {
                self.copies += 1;
                // Each copy has a name of its own per connection, so that neither side finds one of an earlier step.
                format!("VACUUM INTO '{{copy{}}}'", self.copies)
            }
            2 => "ANALYZE".to_owned(),
            3 => "REINDEX".to_owned(),
            _ => "VACUUM".to_owned(),
        }
    }

    pub(super) fn pragma(&mut self) -> String {
        const PLAIN: &[&str] = &[
            "page_count",
            "freelist_count",
            "integrity_check",
            "quick_check",
            "foreign_key_check",
            "user_version",
            "schema_version",
            "application_id",
            "encoding",
            "auto_vacuum",
            "page_size",
            "journal_mode",
            "locking_mode",
            "busy_timeout",
            "cache_size",
            "foreign_keys",
            "table_list",
            "collation_list",
            "incremental_vacuum(3)",
            "incremental_vacuum",
            "wal_checkpoint",
            "wal_checkpoint(FULL)",
            "wal_checkpoint(TRUNCATE)",
            "shrink_memory",
            "optimize",
            "max_page_count",
            "no_such_pragma=1",
        ];
        if self.random.percent(50) {
            return format!("PRAGMA {}", self.random.pick(PLAIN));
        }
        if let Some(table) = self.table(|_| true)
            && self.random.percent(25)
        {
            let question = self.random.pick(&["table_info", "table_xinfo", "index_list", "foreign_key_list"]);
            return format!("PRAGMA {}.{question}({})", table.schema, table.name);
        }
        let number = self.random.range(0..=20);
        match self.random.below(18) {
            0 => format!("PRAGMA user_version={number}"),
            1 => format!("PRAGMA application_id={number}"),
            2 => format!("PRAGMA foreign_keys={}", number % 2),
            3 => format!("PRAGMA defer_foreign_keys={}", number % 2),
            // Tiny: transactions spill.
            4 | 5 => format!("PRAGMA cache_size={}", number - 5),
            6 => format!("PRAGMA cache_spill={}", number % 3),
            7 => format!("PRAGMA temp_store={}", number % 3),
            8 if self.recursive => "PRAGMA recursive_triggers=1".to_owned(),
            9 => format!("PRAGMA secure_delete={}", number % 3),
            10 => format!("PRAGMA case_sensitive_like={}", number % 2),
            11 => format!("PRAGMA reverse_unordered_selects={}", number % 2),
            12 => format!("PRAGMA journal_mode={}", self.random.pick(&["delete", "wal", "memory", "off"])),
            13 => format!("PRAGMA locking_mode={}", self.random.pick(&["exclusive", "normal"])),
            14 => format!("PRAGMA page_size={}", self.random.pick(&["512", "4096", "1000", "65536"])),
            15 => {
                self.random.pick(&["PRAGMA wal_autocheckpoint=0", "PRAGMA journal_size_limit=0"]).to_owned()
            }
            16 => format!("PRAGMA automatic_index={}", number % 2),
            _ => "PRAGMA synchronous=off".to_owned(),
        }
    }
}
