-- The tables of a catalog_tagger warehouse as views of DataFusion.
-- First: SET datafusion.execution.listing_table_factory_infer_partitions = false. Run it again after a run.

CREATE EXTERNAL TABLE IF NOT EXISTS runs_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/commits/';

CREATE EXTERNAL TABLE IF NOT EXISTS segments_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/segments/';

CREATE EXTERNAL TABLE IF NOT EXISTS fingerprints_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/fingerprints/';

CREATE EXTERNAL TABLE IF NOT EXISTS tracks_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/tracks/';

CREATE EXTERNAL TABLE IF NOT EXISTS songs_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/songs/';

CREATE EXTERNAL TABLE IF NOT EXISTS duplicates_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/duplicates/';

CREATE EXTERNAL TABLE IF NOT EXISTS searches_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/searches/';

CREATE EXTERNAL TABLE IF NOT EXISTS flags_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/flags/';

CREATE EXTERNAL TABLE IF NOT EXISTS label_noise_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/label_noise/';

CREATE EXTERNAL TABLE IF NOT EXISTS flag_precision_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/flag_precision/';

CREATE EXTERNAL TABLE IF NOT EXISTS decisions_files STORED AS PARQUET LOCATION 's3://bucket/warehouse/decisions/';

CREATE OR REPLACE VIEW runs AS SELECT run_id, started_at, committed_at, source, bundles, tracks, tagged, quarantined, up_to_date, segments, audio_s, wall_s, removed, size_bytes, kind FROM runs_files;

CREATE OR REPLACE VIEW newest_runs AS SELECT kind, run_id FROM (SELECT kind, run_id, row_number() OVER (PARTITION BY kind ORDER BY committed_at DESC, run_id DESC) AS newest FROM runs) ranked WHERE newest = 1;

CREATE OR REPLACE VIEW segments_history AS SELECT f.track_id, f.run_id, f.start_s, f.end_s, f.p_speech, f.p_music, f.p_female, f.tags FROM segments_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW fingerprints_history AS SELECT f.track_id, f.run_id, f.start_s, f.peaks FROM fingerprints_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW tracks_history AS SELECT f.track_id, f.run_id, f.status, f.error_code, f.error_message, f.uri, f.audio_etag, f.size_bytes, f.codec, f.sample_rate_hz, f.channels, f.duration_s, f.scanned_s, f.speech_fraction, f.music_fraction, f.content_type, f.content_confidence, f.bundles, f.tagged_at, f.attempts, f.voice_gender, f.voice_gender_confidence, f.tags, f.embedding, f.content_probabilities FROM tracks_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW songs_history AS SELECT f.track_id, f.run_id, f.song_track_id, f.start_s, f.end_s, f.song_start_s, f.rate, f.pitch_semitones, f.score, f.expected_false_matches FROM songs_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW duplicates_history AS SELECT f.track_id, f.run_id, f.other_track_id, f.start_s, f.end_s, f.song_start_s, f.rate, f.pitch_semitones, f.score, f.expected_false_matches FROM duplicates_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW searches_history AS SELECT f.track_id, f.run_id, f.track_run_id, f.searched_s, f.music_s, f.known_s, f.unknown_s, f.stretches, f.music FROM searches_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW flags_history AS SELECT f.flag_id, f.run_id, f.track_id, f.kind, f.field, f.current_value, f.suggested_value, f.confidence, f.evidence, f.reason, f.first_seen_run, f.state, f.audio_etag, f.uri FROM flags_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW label_noise_history AS SELECT f.run_id, f.field, f.current_value, f.true_value, f.tracks, f.expected FROM label_noise_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW flag_precision_history AS SELECT f.run_id, f.kind, f.field, f.confidence, f.flags, f.expected_precision, f.low, f.high, f.is_cut FROM flag_precision_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW decisions_history AS SELECT f.flag_id, f.run_id, f.decision, f.kind, f.field, f.confidence, f.current_value, f.audio_etag, f.first_seen_run FROM decisions_files f JOIN runs r ON f.run_id = r.run_id;

CREATE OR REPLACE VIEW tracks AS SELECT track_id, run_id, status, error_code, error_message, uri, audio_etag, size_bytes, codec, sample_rate_hz, channels, duration_s, scanned_s, speech_fraction, music_fraction, content_type, content_confidence, bundles, tagged_at, attempts, voice_gender, voice_gender_confidence, tags, embedding, content_probabilities FROM (SELECT h.track_id, h.run_id, h.status, h.error_code, h.error_message, h.uri, h.audio_etag, h.size_bytes, h.codec, h.sample_rate_hz, h.channels, h.duration_s, h.scanned_s, h.speech_fraction, h.music_fraction, h.content_type, h.content_confidence, h.bundles, h.tagged_at, h.attempts, h.voice_gender, h.voice_gender_confidence, h.tags, h.embedding, h.content_probabilities, row_number() OVER (PARTITION BY h.track_id ORDER BY r.committed_at DESC, h.tagged_at DESC, h.run_id DESC) AS newest FROM tracks_history h JOIN runs r ON h.run_id = r.run_id) ranked WHERE newest = 1;

CREATE OR REPLACE VIEW segments AS SELECT s.track_id, s.run_id, s.start_s, s.end_s, s.p_speech, s.p_music, s.p_female, s.tags FROM segments_history s JOIN tracks t ON s.track_id = t.track_id AND s.run_id = t.run_id;

CREATE OR REPLACE VIEW fingerprints AS SELECT s.track_id, s.run_id, s.start_s, s.peaks FROM fingerprints_history s JOIN tracks t ON s.track_id = t.track_id AND s.run_id = t.run_id;

CREATE OR REPLACE VIEW songs AS SELECT s.track_id, s.run_id, s.song_track_id, s.start_s, s.end_s, s.song_start_s, s.rate, s.pitch_semitones, s.score, s.expected_false_matches FROM songs_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs';

CREATE OR REPLACE VIEW duplicates AS SELECT s.track_id, s.run_id, s.other_track_id, s.start_s, s.end_s, s.song_start_s, s.rate, s.pitch_semitones, s.score, s.expected_false_matches FROM duplicates_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs';

CREATE OR REPLACE VIEW searches AS SELECT s.track_id, s.run_id, s.track_run_id, s.searched_s, s.music_s, s.known_s, s.unknown_s, s.stretches, s.music FROM searches_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs';

CREATE OR REPLACE VIEW flags AS SELECT s.flag_id, s.run_id, s.track_id, s.kind, s.field, s.current_value, s.suggested_value, s.confidence, s.evidence, s.reason, s.first_seen_run, s.state, s.audio_etag, s.uri FROM flags_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW label_noise AS SELECT s.run_id, s.field, s.current_value, s.true_value, s.tracks, s.expected FROM label_noise_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW flag_precision AS SELECT s.run_id, s.kind, s.field, s.confidence, s.flags, s.expected_precision, s.low, s.high, s.is_cut FROM flag_precision_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW decisions AS SELECT s.flag_id, s.run_id, s.decision, s.kind, s.field, s.confidence, s.current_value, s.audio_etag, s.first_seen_run FROM decisions_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile';

CREATE OR REPLACE VIEW track_tags AS SELECT track_id, t['tag'] AS tag, t['score'] AS score FROM (SELECT track_id, unnest(tags) AS t FROM tracks);

CREATE OR REPLACE VIEW segment_tags AS SELECT track_id, start_s, end_s, t['tag'] AS tag, t['score'] AS score FROM (SELECT track_id, start_s, end_s, unnest(tags) AS t FROM segments);
