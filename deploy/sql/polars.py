# The tables of a catalog_tagger warehouse as frames of Polars (1.36 and later):
#     connect().execute("SELECT content_type, count(*) FROM tracks GROUP BY content_type", eager=True)
import polars

ROOT = 's3://bucket/warehouse'
TABLES = {'segments': 'schema-32e92ce4529f.parquet', 'fingerprints': 'schema-fa64d077b4a8.parquet', 'tracks': 'schema-d482dfdd0c19.parquet', 'songs': 'schema-8233d1b2411f.parquet', 'duplicates': 'schema-62ac18e201e0.parquet', 'searches': 'schema-330c2ff91cb4.parquet', 'flags': 'schema-08e4421e468f.parquet', 'label_noise': 'schema-c0098a602a50.parquet', 'flag_precision': 'schema-8396d7c8d051.parquet', 'decisions': 'schema-a218672ca71a.parquet'}
VIEWS = {
    'runs': 'SELECT run_id, started_at, committed_at, source, bundles, tracks, tagged, quarantined, up_to_date, segments, audio_s, wall_s, removed, size_bytes, kind FROM runs_files',
    'newest_runs': 'SELECT kind, run_id FROM (SELECT kind, run_id, row_number() OVER (PARTITION BY kind ORDER BY committed_at DESC, run_id DESC) AS newest FROM runs) ranked WHERE newest = 1',
    'segments_history': 'SELECT f.track_id, f.run_id, f.start_s, f.end_s, f.p_speech, f.p_music, f.p_female, f.tags FROM segments_files f JOIN runs r ON f.run_id = r.run_id',
    'fingerprints_history': 'SELECT f.track_id, f.run_id, f.start_s, f.peaks FROM fingerprints_files f JOIN runs r ON f.run_id = r.run_id',
    'tracks_history': 'SELECT f.track_id, f.run_id, f.status, f.error_code, f.error_message, f.uri, f.audio_etag, f.size_bytes, f.codec, f.sample_rate_hz, f.channels, f.duration_s, f.scanned_s, f.speech_fraction, f.music_fraction, f.content_type, f.content_confidence, f.bundles, f.tagged_at, f.attempts, f.voice_gender, f.voice_gender_confidence, f.tags, f.embedding, f.content_probabilities FROM tracks_files f JOIN runs r ON f.run_id = r.run_id',
    'songs_history': 'SELECT f.track_id, f.run_id, f.song_track_id, f.start_s, f.end_s, f.song_start_s, f.rate, f.pitch_semitones, f.score, f.expected_false_matches FROM songs_files f JOIN runs r ON f.run_id = r.run_id',
    'duplicates_history': 'SELECT f.track_id, f.run_id, f.other_track_id, f.start_s, f.end_s, f.song_start_s, f.rate, f.pitch_semitones, f.score, f.expected_false_matches FROM duplicates_files f JOIN runs r ON f.run_id = r.run_id',
    'searches_history': 'SELECT f.track_id, f.run_id, f.track_run_id, f.searched_s, f.music_s, f.known_s, f.unknown_s, f.stretches, f.music FROM searches_files f JOIN runs r ON f.run_id = r.run_id',
    'flags_history': 'SELECT f.flag_id, f.run_id, f.track_id, f.kind, f.field, f.current_value, f.suggested_value, f.confidence, f.evidence, f.reason, f.first_seen_run, f.state, f.audio_etag, f.uri FROM flags_files f JOIN runs r ON f.run_id = r.run_id',
    'label_noise_history': 'SELECT f.run_id, f.field, f.current_value, f.true_value, f.tracks, f.expected FROM label_noise_files f JOIN runs r ON f.run_id = r.run_id',
    'flag_precision_history': 'SELECT f.run_id, f.kind, f.field, f.confidence, f.flags, f.expected_precision, f.low, f.high, f.is_cut FROM flag_precision_files f JOIN runs r ON f.run_id = r.run_id',
    'decisions_history': 'SELECT f.flag_id, f.run_id, f.decision, f.kind, f.field, f.confidence, f.current_value, f.audio_etag, f.first_seen_run FROM decisions_files f JOIN runs r ON f.run_id = r.run_id',
    'tracks': 'SELECT track_id, run_id, status, error_code, error_message, uri, audio_etag, size_bytes, codec, sample_rate_hz, channels, duration_s, scanned_s, speech_fraction, music_fraction, content_type, content_confidence, bundles, tagged_at, attempts, voice_gender, voice_gender_confidence, tags, embedding, content_probabilities FROM (SELECT h.track_id, h.run_id, h.status, h.error_code, h.error_message, h.uri, h.audio_etag, h.size_bytes, h.codec, h.sample_rate_hz, h.channels, h.duration_s, h.scanned_s, h.speech_fraction, h.music_fraction, h.content_type, h.content_confidence, h.bundles, h.tagged_at, h.attempts, h.voice_gender, h.voice_gender_confidence, h.tags, h.embedding, h.content_probabilities, row_number() OVER (PARTITION BY h.track_id ORDER BY r.committed_at DESC, h.tagged_at DESC, h.run_id DESC) AS newest FROM tracks_history h JOIN runs r ON h.run_id = r.run_id) ranked WHERE newest = 1',
    'segments': 'SELECT s.track_id, s.run_id, s.start_s, s.end_s, s.p_speech, s.p_music, s.p_female, s.tags FROM segments_history s JOIN tracks t ON s.track_id = t.track_id AND s.run_id = t.run_id',
    'fingerprints': 'SELECT s.track_id, s.run_id, s.start_s, s.peaks FROM fingerprints_history s JOIN tracks t ON s.track_id = t.track_id AND s.run_id = t.run_id',
    'songs': "SELECT s.track_id, s.run_id, s.song_track_id, s.start_s, s.end_s, s.song_start_s, s.rate, s.pitch_semitones, s.score, s.expected_false_matches FROM songs_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs'",
    'duplicates': "SELECT s.track_id, s.run_id, s.other_track_id, s.start_s, s.end_s, s.song_start_s, s.rate, s.pitch_semitones, s.score, s.expected_false_matches FROM duplicates_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs'",
    'searches': "SELECT s.track_id, s.run_id, s.track_run_id, s.searched_s, s.music_s, s.known_s, s.unknown_s, s.stretches, s.music FROM searches_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'songs'",
    'flags': "SELECT s.flag_id, s.run_id, s.track_id, s.kind, s.field, s.current_value, s.suggested_value, s.confidence, s.evidence, s.reason, s.first_seen_run, s.state, s.audio_etag, s.uri FROM flags_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile'",
    'label_noise': "SELECT s.run_id, s.field, s.current_value, s.true_value, s.tracks, s.expected FROM label_noise_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile'",
    'flag_precision': "SELECT s.run_id, s.kind, s.field, s.confidence, s.flags, s.expected_precision, s.low, s.high, s.is_cut FROM flag_precision_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile'",
    'decisions': "SELECT s.flag_id, s.run_id, s.decision, s.kind, s.field, s.confidence, s.current_value, s.audio_etag, s.first_seen_run FROM decisions_history s JOIN newest_runs n ON s.run_id = n.run_id WHERE n.kind = 'reconcile'",
}
TAGS = {'track_tags': ('tracks', ('track_id',)), 'segment_tags': ('segments', ('track_id', 'start_s', 'end_s'))}


def connect(root=ROOT, **options):
    """All views by their names; options are those of `polars.scan_parquet`, such as storage_options for a bucket."""
    context = polars.SQLContext()
    reading = {"hive_partitioning": False, "missing_columns": "insert", "extra_columns": "ignore", **options}
    context.register("runs_files", polars.scan_parquet(f"{root}/commits/*.parquet", **reading))
    for name, first in TABLES.items():  # the first file says which columns there are
        places = [f"{root}/{name}/run_id=none/{first}", f"{root}/{name}/*/*.parquet"]
        context.register(f"{name}_files", polars.scan_parquet(places, **reading))
    for name, select in VIEWS.items():
        context.register(name, context.execute(select))
    for name, (table, columns) in TAGS.items():
        tags = context.execute(f"SELECT * FROM {table}").select(*columns, "tags")
        context.register(name, tags.explode("tags").drop_nulls("tags").unnest("tags"))
    return context
